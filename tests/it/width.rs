//! The width of comments and prose, which is that of rustfmt for code: 110 columns. Tables, addresses and
//! code blocks may be wider.

use std::fs;
use std::path::{Path, PathBuf};

const WIDTH: usize = 110;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            files(&path, found);
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Whether a long line cannot be broken: it is one word, or part of a table.
fn cannot_be_broken(text: &str) -> bool {
    let text = text.trim_start_matches(['-', '*', ' ']);
    text.starts_with('|') || text.starts_with('!') || !text.contains(' ')
}

#[test]
fn comments_and_prose_have_one_width() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut found);
    assert!(found.len() > 300, "that is not all: {}", found.len());
    let mut wide = Vec::new();
    for path in found {
        let is_code = path.extension().is_some_and(|ending| ending == "rs");
        let mut in_block = false;
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let comment =
                line.trim_start().strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']));
            let Some(text) = (if is_code { comment } else { Some(line) }) else {
                in_block = false;
                continue;
            };
            let text = text.trim_start();
            let is_fence = text.starts_with("```");
            in_block ^= is_fence;
            if !in_block && !is_fence && line.chars().count() > WIDTH && !cannot_be_broken(text) {
                wide.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_eq!(wide, Vec::<String>::new(), "wider than {WIDTH} columns");
}
