//! The folder that relative paths refer to.

use std::path::Path;

/// Changes to the root of the repository. Cargo starts a benchmark in the folder of its package, but paths in
/// arguments are relative to where `cargo bench` was called.
pub(crate) fn enter() -> std::io::Result<()> {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => std::env::set_current_dir(Path::new(&package).join("..")),
        None => Ok(()),
    }
}
