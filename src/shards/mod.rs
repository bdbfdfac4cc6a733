//! Several loops that are one server to their clients: what is published has one order, and the same ids, in
//! all of them.

pub(crate) mod link;
pub(crate) mod sequencer;
#[expect(clippy::module_inception, reason = "it is what the folder is about")]
pub(crate) mod shards;
