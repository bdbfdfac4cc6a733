//! Applications made of closures.

pub(crate) mod outcome;
#[expect(clippy::module_inception, reason = "the router is what the folder is about")]
pub(crate) mod router;
pub(crate) mod routes;
