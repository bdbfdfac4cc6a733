//! A new user: an empty directory, a dependency, the example of the README.

use crate::support::{DEADLINE, eventually, repository, run, scratch, target_dir, tied};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a stream until it contains `wanted`.
fn read_until(port: u16, path: &str, wanted: &str) {
    let mut stream = eventually("the program listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut received = String::new();
    while !received.contains(wanted) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{wanted:?} is not in {received:?}");
        received.push_str(str::from_utf8(&buffer[..count]).unwrap());
    }
}

#[test]
fn the_example_of_the_readme_compiles_in_an_empty_directory_and_ticks() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, example) = readme.split_once("## Use it").expect("the README says how to use the library");
    let (_, example) = example.split_once("```rust,no_run\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert!(example.lines().count() <= 36, "it is short: {}", example.lines().count());
    // Its port may be taken. This one is free, or was a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = "127.0.0.1:8080";
    assert_eq!(example.matches(address).count(), 1);
    let example = example.replace(address, &format!("127.0.0.1:{port}"));

    let directory = scratch("stranger");
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).current_dir(&directory).env("CARGO_TARGET_DIR", target_dir());
        command
    };
    // `cargo init` would make it a member of the workspace around it.
    let manifest = "[package]\nname = \"stranger\"\nedition = \"2024\"\n\n[workspace]\n";
    std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir_all(directory.join("src")).unwrap();
    std::fs::write(directory.join("src/main.rs"), example).unwrap();
    run(cargo(&["add", "--quiet", "mio-sse", "--path"]).arg(repository()));
    run(&mut cargo(&["build", "--quiet"]));

    let program = tied(target_dir().join("debug/stranger")).spawn().unwrap();
    let _program = Program(program);
    read_until(port, "/ticks", "data: welcome\n\n");
    read_until(port, "/ticks", "data: tick\n\n");
    read_until(port, "/news", "data: hello from a thread\n\n");
}
