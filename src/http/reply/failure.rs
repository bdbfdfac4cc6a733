//! What went wrong when a handler was to make a reply.

use std::any::Any;
use std::error::Error as AnyError;

/// Why a handler has answered with an error, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// It was nothing that the application or its operator could help.
    pub(crate) is_of_peer: bool,
}

impl Failure {
    /// Something that the application should know.
    pub(crate) fn of_application(text: &str) -> Self {
        Self { text: text.to_owned(), is_of_peer: false }
    }
}

/// An error of that type, also in a box.
pub(crate) fn found<T: AnyError + 'static>(error: &dyn Any) -> Option<&T> {
    error
        .downcast_ref::<T>()
        .or_else(|| error.downcast_ref::<Box<dyn AnyError>>()?.downcast_ref())
        .or_else(|| error.downcast_ref::<Box<dyn AnyError + Send + Sync>>()?.downcast_ref())
}
