//! Calling the application, which may panic.

use crate::server::state::core::Core;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `work`, which is application code. Answers nothing if it has panicked; then that is logged and counted, or goes on
/// to whoever turns the loop.
///
/// The core is whole whatever happens: no application code runs in the middle of a change to it. Observers are told at the
/// end of one.
pub(crate) fn guard<T>(core: &mut Core, what: &str, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| work(core))) {
        Ok(value) => Some(value),
        Err(panic) => {
            core.stats.panics += 1;
            log::error!("{what} panicked: {}", message(&*panic));
            if core.config.propagate_panics {
                resume_unwind(panic);
            }
            None
        }
    }
}

/// What `panic!` was given.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
