//! Stops a server when the harness is gone.
//!
//! A guard in the harness kills its children, but only if destructors run; on SIGTERM or SIGKILL they do not.
//! A keeper's stdin is a pipe from the harness, which the kernel closes in every case.

use crate::Result;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Period with which a keeper checks whether its server has exited.
const LOOK: Duration = Duration::from_millis(250);

/// Starts `program` with this stdout, announces `pid N` there, and stays until it or the harness exits.
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
