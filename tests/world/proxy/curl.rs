//! curl, whose output is read as it arrives.

use crate::support::{DEADLINE, ms, now, run, tied};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A transfer, until it is dropped.
pub(crate) struct Curl {
    process: Child,
    lines: Receiver<String>,
}

impl Curl {
    /// Requests a path and prints head and body. It accepts any certificate.
    pub(crate) fn get(url: &str, arguments: &[&str]) -> Self {
        let mut command = tied("curl");
        command.args(["-sNki", "--max-time", "60"]).args(arguments).arg(url);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                // The test may no longer be waiting.
                let _ = sender.send(line.unwrap_or_default().trim_end_matches('\r').to_owned());
            }
        });
        Self { process, lines }
    }

    /// The next line, or `None` at the end or after this time.
    pub(crate) fn line_within(&self, time: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(time)
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.line_within(DEADLINE).expect("a line")
    }

    /// Reads the head. Returns its lines in lower case, as in HTTP/2.
    pub(crate) fn head(&self) -> Vec<String> {
        let head: Vec<_> =
            std::iter::from_fn(|| Some(self.line().to_lowercase()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains(" 200"), "{head:?}");
        head
    }

    /// Reads up to this line.
    pub(crate) fn wait_for(&self, wanted: &str) {
        while self.line() != wanted {}
    }

    /// Sends it a signal: after `STOP` it reads nothing until `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        run(Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()));
    }

    /// Reads to the end. Returns whether it was a clean one.
    pub(crate) fn ends_cleanly(mut self) -> bool {
        let deadline = now() + DEADLINE;
        while self.lines.recv_timeout(ms(100)) != Err(RecvTimeoutError::Disconnected) {
            assert!(now() < deadline, "an end");
        }
        self.process.wait().unwrap().success()
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
