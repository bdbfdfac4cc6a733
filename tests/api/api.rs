//! What other programs can name is what `public-api.txt` says: a change there is seen in review, and may
//! break them.
//!
//! `cargo test --manifest-path tests/api/Cargo.toml --target-dir target`, and with `UPDATE=1` in front the
//! file is written anew.

use std::path::Path;
use std::process::Command;

#[test]
fn the_public_api_is_as_it_is_listed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let target = root.join("target/api");
    // The form of what rustdoc knows is not stable, so it has to be asked for.
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--lib", "--all-features", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTC_BOOTSTRAP", "1")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "rustdoc fails");
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/mio_sse.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .expect("a description that this version of public-api understands");
    let found: String = api.items().map(|item| format!("{item}\n")).collect();
    let file = here.join("public-api.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &found).expect("the file can be written");
    }
    let listed = std::fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let (found, listed) = (lines(&found), lines(&listed));
    let (new, gone): (Vec<_>, Vec<_>) =
        (found.difference(&listed).collect(), listed.difference(&found).collect());
    assert!(
        new.is_empty() && gone.is_empty(),
        "the public API has changed; UPDATE=1 writes the list anew\nnew: {new:#?}\ngone: {gone:#?}"
    );
}
