//! The inputs that the fuzz targets begin with or have found worth keeping, checked without a fuzzer.
//!
//! It is a test binary of its own, because the published package does not have its files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library for the fuzz targets")]
mod checks;

/// Checks every file of `fuzz/corpus/<target>`, and in `fuzz/artifacts/<target>` the inputs with which a
/// fuzzer has just failed here.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut failed = Vec::new();
    let mut count = 0;
    for folder in ["corpus", "artifacts"] {
        let Ok(files) = fs::read_dir(fuzz.join(folder).join(target)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            count += 1;
            if catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_err() {
                failed.push(path.strip_prefix(&fuzz).unwrap().to_owned());
            }
        }
    }
    assert!(failed.is_empty(), "in fuzz/: {failed:?}");
    assert!(count > 0, "there is a corpus for {target}");
}

#[test]
fn heads() {
    replay("head", checks::head::check);
}

#[test]
fn bodies() {
    replay("body", checks::body::check);
}

#[test]
fn connections() {
    replay("connection", checks::connection::check);
}

#[test]
fn events() {
    replay("event", checks::event::check);
}

#[cfg(feature = "tls")]
#[test]
fn connections_with_tls() {
    replay("tls", checks::tls::check);
}
