//! Firefox, without a debugger: a page reports to its server what it sees.

use crate::support::{run, scratch, tied};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A browser with a profile of its own, stopped on drop.
pub(crate) struct Firefox(Child);

impl Firefox {
    /// Loads a page. The name is that of its profile.
    pub(crate) fn open(name: &str, url: &str) -> Self {
        Self::start(&scratch(&format!("firefox-{name}")), url)
    }

    /// The same where certificates that this root has issued are trusted.
    pub(crate) fn open_trusting(root: &Path, name: &str, url: &str) -> Self {
        let directory = scratch(&format!("firefox-{name}"));
        let certutil = |arguments: &[&str]| {
            // Of `libnss3-tools`.
            run(Command::new("certutil").arg("-d").arg(&directory).args(arguments));
        };
        certutil(&["-N", "--empty-password"]);
        certutil(&["-A", "-n", "root", "-t", "C,,", "-i", root.to_str().unwrap()]);
        Self::start(&directory, url)
    }

    fn start(directory: &Path, url: &str) -> Self {
        let mut command = tied("firefox-esr");
        command.args(["--headless", "--no-remote", "--profile"]).arg(directory).arg(url);
        // It also writes outside its profile.
        command.env("HOME", directory).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        // So that its other processes exit with it.
        run(Command::new("kill").args(["-TERM", &self.0.id().to_string()]));
        let _ = self.0.wait();
    }
}
