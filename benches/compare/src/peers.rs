//! The servers to compare with, and whether they are installed.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    /// The version, with the name of the software.
    pub(crate) version: String,
}

/// In the order of the tables.
const NAMES: [&str; 10] =
    ["hyper", "axum", "warp", "poem", "salvo", "actix-web", "node", "better-sse", "go", "nchan"];

/// The servers that can be measured here. Prints what is missing for the others.
pub(crate) fn find(package: &Path, only: Option<&[String]>) -> Result<Vec<Peer>> {
    if let Some(unknown) = only.into_iter().flatten().find(|only| !NAMES.contains(&only.as_str())) {
        return Err(format!("there is no {unknown:?} to compare with").into());
    }
    let built = std::env::current_exe()?;
    let built = |name| built.with_file_name(name);
    let mut peers = Vec::new();
    for name in NAMES.into_iter().filter(|name| only.is_none_or(|only| only.iter().any(|one| one == name))) {
        let (program, version) = match name {
            "hyper" | "axum" | "warp" | "poem" | "salvo" => (built(name), Ok(locked(name))),
            "actix-web" => {
                (built("actix"), Ok(format!("{}, {}", locked("actix-web"), locked("actix-web-lab"))))
            }
            "node" => (package.join("peers/node.mjs"), node()),
            "better-sse" => (package.join("peers/better-sse/hub.mjs"), better_sse(package)),
            "go" => {
                // The programs in Rust are in the same folder; none of them has this name.
                let program = built("go-hub");
                let version = go(package, &program);
                (program, version)
            }
            _ => (built("nchan"), nchan()),
        };
        match version {
            Ok(version) => peers.push(Peer { name, program, version }),
            Err(missing) => println!("without {name}: {missing}"),
        }
    }
    Ok(peers)
}

/// The version of a crate that was built.
fn locked(name: &str) -> String {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version =
        include_str!("../Cargo.lock").split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    format!("{name} {}", version.unwrap_or("of unknown version"))
}

fn node() -> std::result::Result<String, &'static str> {
    let version = said("node", &["--version"]).ok_or("install Debian's nodejs")?;
    Ok(format!("Node {}", version.trim_start_matches('v')))
}

fn better_sse(package: &Path) -> std::result::Result<String, &'static str> {
    let node = node()?;
    let folder = package.join("peers/better-sse");
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        return Err("npm (Debian's npm) has not installed it");
    }
    let version = include_str!("../peers/better-sse/package.json")
        .split_once("\"better-sse\": \"")
        .and_then(|(_, rest)| rest.split('"').next());
    Ok(format!("better-sse {} on {node}", version.unwrap_or("of unknown version")))
}

/// Builds the hub in Go.
fn go(package: &Path, program: &Path) -> std::result::Result<String, &'static str> {
    let version = said("go", &["env", "GOVERSION"]).ok_or("install Debian's golang-go")?;
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(program)
        .arg("main.go")
        .current_dir(package.join("peers/go"))
        .stdin(Stdio::null())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("it does not compile");
    }
    Ok(format!("Go {}", version.trim_start_matches("go")))
}

fn nchan() -> std::result::Result<String, &'static str> {
    const MISSING: &str = "install Debian's nginx and libnginx-mod-nchan";
    let nginx = said("nginx", &["-v"]).ok_or(MISSING)?;
    let module = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"]
        .iter()
        .any(|folder| Path::new(folder).join("ngx_nchan_module.so").exists());
    if !module {
        return Err(MISSING);
    }
    let nchan = said("dpkg-query", &["--show", "--showformat=${Version}", "libnginx-mod-nchan"]);
    // Without Debian's epoch and revision.
    let nchan = nchan.as_deref().unwrap_or("of unknown version");
    let nchan = nchan.rsplit(':').next().unwrap_or(nchan);
    let nchan = nchan.split(['+', '-']).next().unwrap_or(nchan);
    Ok(format!("nginx {} with nchan {nchan}", nginx.rsplit('/').next().unwrap_or_default()))
}

/// The output of a program, whichever stream it uses; `None` if it is not installed.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| String::from_utf8_lossy(&said).trim().to_owned())
}
