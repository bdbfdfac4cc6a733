//! Child processes that communicate in lines. The harness never waits for them without a deadline, and they
//! never outlive it.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Time for a keeper to stop its server.
const END: Duration = Duration::from_secs(5);

/// A child process, which is stopped on drop.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Taken when the child is stopped.
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
        // Reads to the end, so that a full pipe never blocks the child.
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

    /// The next line of its stdout that `wanted` accepts. Other lines are skipped.
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
    /// The end of stdin tells a keeper to stop its server first, and gives it the time.
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
