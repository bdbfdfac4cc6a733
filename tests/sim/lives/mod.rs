//! Whole lives of clients: what each has seen over all its connections to several servers, which start anew
//! now and then, and of which some have several loops, against what was published. An event that a client
//! misses has to be told to it.

mod app;
mod client;
mod node;
mod oracle;
mod run;
mod scenario;
mod story;
mod together;

pub(crate) use run::{Summary, run};
