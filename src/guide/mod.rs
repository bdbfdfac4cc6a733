//! Guides by task: what to use, what it promises, and what can go wrong. Each begins with a program that is
//! compiled and tested.
//!
//! | you want to | read |
//! |---|---|
//! | give clients that reconnect what they have missed; choose who makes the ids; serve ids from a database | [Ids and resume](ids_and_resume) |
//! | decide what happens to clients that do not read; send only the newest value of each key; slow down a busy topic | [Slow clients](slow_clients) |
//! | bound the memory of the process; know what a stream, a topic and a history cost | [Memory](memory) |
//! | run the server inside your own event loop; take over connections from another HTTP server | [Embedding](embedding) |
//! | publish from tokio or another runtime; reply from a task; feed a stream from a task | [Async programs](async_programs) |
//! | put it behind nginx or another proxy; use TLS; raise the limit of open files; restart, shut down, watch and log | [Deployment](deployment) |
//! | use several cores, or several machines | [Scaling](scaling) |
//!
//! [`Router`](crate::Router) shows how to write an application,
//! [`Server::in_memory`](crate::Server::in_memory) how to test one. [`Config`](crate::Config) lists every
//! limit with its default.

pub mod async_programs;
pub mod deployment;
pub mod embedding;
pub mod ids_and_resume;
pub mod memory;
pub mod scaling;
pub mod slow_clients;
