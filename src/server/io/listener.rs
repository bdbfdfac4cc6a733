//! One listener, on TCP or a unix socket.

use crate::server::io::options::{INHERITED, Options};
use crate::server::io::secured::Tls;
#[cfg(unix)]
use crate::server::io::unix::SocketFile;
use mio::event::Source;
#[cfg(unix)]
use mio::net::UnixListener;
use mio::net::{TcpListener, TcpStream};
use socket2::{SockRef, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::os::fd::OwnedFd;

/// A listener.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, Option<Tls>),
    #[cfg(unix)]
    Unix {
        /// Only held to be dropped before the socket, if the file is ours (see `SocketFile`).
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
}

impl Listener {
    pub(crate) fn tcp(
        listener: std::net::TcpListener,
        tls: Option<Tls>,
        options: &Options,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        options.set_of_listener(&listener)?;
        Ok(Self::Tcp(TcpListener::from_std(listener), tls))
    }

    #[cfg(unix)]
    pub(crate) fn unix(
        file: Option<SocketFile>,
        listener: std::os::unix::net::UnixListener,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { _file: file, listener: UnixListener::from_std(listener) })
    }

    pub(crate) fn as_source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener, _) => listener,
            #[cfg(unix)]
            Self::Unix { listener, .. } => listener,
        }
    }

    /// A duplicate of its descriptor.
    pub(crate) fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener, _) => SockRef::from(listener).try_clone(),
            #[cfg(unix)]
            Self::Unix { listener, .. } => SockRef::from(listener).try_clone(),
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        match self {
            Self::Tcp(..) => false,
            #[cfg(unix)]
            Self::Unix { .. } => true,
        }
    }

    /// The TCP address; `None` for a unix socket.
    pub(crate) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().map(Some),
            #[cfg(unix)]
            Self::Unix { .. } => Ok(None),
        }
    }

    /// Accepts the next connection. Returns it with its address and TLS configuration. A unix socket is held
    /// as a `TcpStream` from here on.
    pub(crate) fn accept(&self, options: &Options) -> io::Result<(TcpStream, Option<IpAddr>, Option<Tls>)> {
        match self {
            Self::Tcp(listener, tls) => {
                let (socket, address) = listener.accept()?;
                if !INHERITED {
                    options.set_of_connection(&SockRef::from(&socket));
                }
                Ok((socket, Some(address.ip()), tls.clone()))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => {
                let (socket, _) = listener.accept()?;
                let socket = std::net::TcpStream::from(OwnedFd::from(socket));
                options.set_of_unix(&SockRef::from(&socket));
                Ok((TcpStream::from_std(socket), None, None))
            }
        }
    }
}
