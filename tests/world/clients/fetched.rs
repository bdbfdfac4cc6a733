//! Clients in JavaScript and Python, downloaded once into the target directory, in the versions that are
//! listed beside this file.

use crate::support::{run, target_dir};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Directory of the scripts and the lists of packages.
fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(file)
}

/// A directory with everything that a list names. If it is missing, or the list has changed, `fetch` is
/// called.
fn directory(name: &str, list: &str, fetch: impl Fn(&Path)) -> PathBuf {
    let directory = target_dir().join("clients").join(name);
    let wanted = std::fs::read_to_string(here(list)).unwrap();
    if std::fs::read_to_string(directory.join("fetched")).is_ok_and(|fetched| fetched == wanted) {
        return directory;
    }
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::copy(here(list), directory.join(list)).unwrap();
    fetch(&directory);
    std::fs::write(directory.join("fetched"), wanted).unwrap();
    directory
}

fn with_arguments(mut command: Vec<String>, script: &str, arguments: &[&str]) -> Vec<String> {
    command.push(here(script).to_str().unwrap().to_owned());
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    command
}

/// The command that runs a script with its packages: in their directory, where it looks for them.
pub(crate) fn node(script: &str, arguments: &[&str]) -> Vec<String> {
    static NODE: OnceLock<PathBuf> = OnceLock::new();
    let directory = NODE.get_or_init(|| {
        directory("node", "package.json", |directory| {
            run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(directory));
        })
    });
    let inside = ["env", "-C", directory.to_str().unwrap(), "node"].map(str::to_owned);
    with_arguments(inside.into(), script, arguments)
}

/// The command that runs a script with its packages.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Vec<String> {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let directory = PYTHON.get_or_init(|| {
        directory("python", "requirements.txt", |directory| {
            run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(directory));
            let mut pip = Command::new(directory.join("venv/bin/pip"));
            run(pip.args(["install", "--quiet", "-r", "requirements.txt"]).current_dir(directory));
        })
    });
    with_arguments(vec![directory.join("venv/bin/python").to_str().unwrap().to_owned()], script, arguments)
}
