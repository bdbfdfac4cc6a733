//! Catches panics of the application.
//!
//! `guard` is around every such call, and none happens in the middle of a change to `Core`. A panic is a 500
//! for a request and `CloseReason::Panicked` for a stream; a timer is dropped.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`, which is application code. If it panics, logs that and returns the panic's payload.
///
/// The caller makes sure that a panic leaves nothing half changed.
pub(crate) fn catch<T>(what: impl fmt::Display, work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(work))
        .inspect_err(|panic| log::error!("{what} panicked: {}", message(&**panic)))
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
