//! Child processes that speak in lines, are never waited for without a deadline, and never outlive the
//! harness.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a keeper may take to end its server.
const END: Duration = Duration::from_secs(5);

/// A child; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Taken when it is time to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn spawn(name: &str, mut command: Command) -> Result<Process> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} ({}): {error}", command.get_program().display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let (sender, lines) = channel();
        // Reads to the end, so that a child that prints is never blocked by a full pipe.
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
                let Ok(line) = line else { break };
                let _ = sender.send(line);
            }
        });
        Ok(Process { name: name.to_owned(), child, stdin, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("stdin is closed")?;
        Ok(writeln!(stdin, "{line}").map_err(|error| format!("{}: {error}", self.name))?)
    }

    /// The next line of its stdout of which `wanted` makes something; others are passed over.
    pub(crate) fn line<T>(&self, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("{} gave no answer within {within:?}", self.name).into());
                }
                Err(RecvTimeoutError::Disconnected) => return Err(format!("{} has ended", self.name).into()),
            }
        }
    }
}

impl Drop for Process {
    /// The end of stdin is the word to go, and gives a keeper the time to end its server first.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
