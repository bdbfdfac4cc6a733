//! A script whose output is read while it runs.

use crate::support::{DEADLINE, eventually, now, tied};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

/// Stopped on drop.
pub(crate) struct Script {
    process: Child,
    pub(crate) said: Arc<Said>,
}

/// The lines that a client has printed so far.
#[derive(Default)]
pub(crate) struct Said {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

impl Said {
    pub(crate) fn hear(&self, line: &[u8]) {
        let value = serde_json::from_slice(line)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(line)));
        self.lines.lock().unwrap().push(value);
        self.more.notify_all();
    }

    /// Waits until the lines meet the condition, and returns them.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let deadline = now() + DEADLINE;
        let mut lines = self.lines.lock().unwrap();
        while !condition(&lines) {
            let left = deadline.saturating_duration_since(now());
            assert!(!left.is_zero(), "{what}, not {lines:?}");
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
        lines.clone()
    }
}

impl Script {
    /// Starts a script that prints lines of JSON.
    pub(crate) fn start(command: &[String]) -> Self {
        let mut process = tied(&command[0])
            .args(&command[1..])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let said = Arc::<Said>::default();
        let hearer = said.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                hearer.hear(line.as_bytes());
            }
        });
        Self { process, said }
    }

    /// Waits until the lines meet the condition, and returns them.
    pub(crate) fn wait_for(&self, what: &str, condition: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        self.said.wait_for(what, condition)
    }

    /// Waits for its exit. Returns all of its lines.
    pub(crate) fn finish(mut self) -> Vec<Value> {
        let status = eventually("the script ends", || {
            self.process
                .try_wait()
                .unwrap()
                .ok_or_else(|| format!("{:?}", self.said.lines.lock().unwrap().last()))
        });
        assert!(status.success(), "{status}");
        let lines = self.said.lines.lock().unwrap();
        lines.clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
