//! The interface to the operating system: sockets, poll, clock; and its implementations.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod descriptors;
pub(crate) mod in_memory;
pub(crate) mod listener;
pub(crate) mod listeners;
pub(crate) mod mio_net;
pub(crate) mod net;
pub(crate) mod options;
pub(crate) mod peer;
pub(crate) mod rotation;
pub(crate) mod secured;
pub(crate) mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod write;
