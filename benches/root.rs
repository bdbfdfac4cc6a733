//! Where relative paths begin.

use std::path::Path;

/// Cargo starts a benchmark in the folder of its package. Paths in arguments are relative to the repository,
/// where `cargo bench` is called.
pub(crate) fn enter() -> std::io::Result<()> {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => std::env::set_current_dir(Path::new(&package).join("..")),
        None => Ok(()),
    }
}
