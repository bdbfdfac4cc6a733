//! Ends a server when the harness is gone.
//!
//! A guard in the harness kills its children on every way out that runs destructors; a SIGTERM or SIGKILL
//! runs none. So a keeper stands between: its stdin is a pipe from the harness, and the kernel closes that
//! pipe in every case.

use crate::Result;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often a keeper looks whether its server has ended by itself.
const LOOK: Duration = Duration::from_millis(250);

/// Starts `program` with our stdout, announces `pid N` there, and stays until it or the harness ends.
pub(crate) fn run(program: &Path, arguments: &[String]) -> Result<()> {
    let mut server = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    println!("pid {}", server.id());
    let (harness, gone) = channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(harness);
    });
    loop {
        match gone.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = server.try_wait()? {
                    if status.success() {
                        return Ok(());
                    }
                    return Err(format!("the server has ended: {status}").into());
                }
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                server.kill()?;
                server.wait()?;
                return Ok(());
            }
        }
    }
}
