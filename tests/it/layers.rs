//! Imports between the files of the library point down only: there is no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The imports of each file from other files, by their names below `src` without the extension. Tests and
/// `mod.rs`, which only lists modules, are left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&root).unwrap().with_extension("");
                let name: Vec<_> = name.iter().map(|part| part.to_str().unwrap()).collect();
                files.insert(name.join("/"), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let names: BTreeSet<_> = files.keys().cloned().collect();
    let counts =
        |name: &str| name != "lib" && !["mod", "tests", "twin"].contains(&name.rsplit('/').next().unwrap());
    files.retain(|name, _| counts(name));
    let found = files.into_iter().map(|(name, text)| {
        let text = text.split("\nmod tests {").next().unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let paths = code.flat_map(|line| line.split("crate::").skip(1));
        let imported = paths.filter_map(|path| {
            let parts: Vec<_> = path.split("::").collect();
            (1..=parts.len()).rev().map(|count| parts[..count].join("/")).find(|name| names.contains(name))
        });
        let imported = imported.filter(|other| counts(other) && *other != name).collect();
        (name, imported)
    });
    found.collect()
}

#[test]
fn imports_have_no_circle() {
    let mut left = imports();
    assert!(left.len() > 50 && left.values().flatten().count() > 200, "that is not all: {left:?}");
    // A file without remaining imports is at the bottom. If there is none, there is a circle.
    loop {
        let bottom: Vec<_> =
            left.iter().filter(|(_, of)| of.is_empty()).map(|(name, _)| name.clone()).collect();
        if bottom.is_empty() {
            break;
        }
        left.retain(|name, _| !bottom.contains(name));
        left.values_mut().for_each(|of| of.retain(|name| !bottom.contains(name)));
    }
    assert!(left.is_empty(), "these files import each other: {left:#?}");
}
