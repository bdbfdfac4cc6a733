//! Failures: why a handler returned an error instead of a reply.

use std::any::Any;
use std::error::Error as AnyError;

/// Why a handler returned an error, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Whether the peer caused it, and not the application or its operator.
    pub(crate) is_of_peer: bool,
}

impl Failure {
    /// A mistake of the application.
    pub(crate) fn of_application(text: &str) -> Self {
        Self { text: text.to_owned(), is_of_peer: false }
    }
}

/// An error of this type, also if it is boxed.
pub(crate) fn found<T: AnyError + 'static>(error: &dyn Any) -> Option<&T> {
    error
        .downcast_ref::<T>()
        .or_else(|| error.downcast_ref::<Box<dyn AnyError>>()?.downcast_ref())
        .or_else(|| error.downcast_ref::<Box<dyn AnyError + Send + Sync>>()?.downcast_ref())
}
