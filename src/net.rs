//! The interface between the loop and the network, to provide your own.
//!
//! By default a server runs on [`MioNet`]: sockets and the clock of the operating system. Tests of
//! applications run on [`InMemory`], which [`Server::in_memory`](crate::Server::in_memory) makes. To run on
//! anything else, implement [`Net`] and build the server by [`Server::with_net`](crate::Server::with_net).

pub use crate::server::io::in_memory::InMemory;
pub use crate::server::io::mio_net::{MioNet, Sockets};
pub use crate::server::io::net::{Net, Ready};
#[cfg(feature = "tls")]
pub use crate::server::io::tls::tls_net::{TlsNet, TlsSocket};
