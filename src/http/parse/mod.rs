//! The parser: bytes to a request, or to a rejection.

pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod held;
pub(crate) mod incoming;
pub(crate) mod limits;
pub(crate) mod raw_request;
pub(crate) mod rejection;
pub(crate) mod request;
pub(crate) mod scan;
pub(crate) mod span;
pub(crate) mod target;
