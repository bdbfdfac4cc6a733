//! Whole lives of clients: what each has seen over all its connections to several servers, which start anew
//! now and then, against what was published. An event that a client misses has to be told to it.

mod app;
mod client;
mod node;
mod oracle;
mod run;
mod scenario;
mod story;

pub(crate) use run::{Summary, run};
