//! Whole lives of clients: the input of each over all its connections to several servers, which restart now
//! and then and some of which have several loops, is compared with the published events. A client has to get
//! a gap for any event that it misses.

mod app;
mod client;
mod node;
mod oracle;
mod run;
mod scenario;
mod story;
mod together;

pub(crate) use run::{Summary, run};
