//! Socket options, as configured.

use crate::config::Config;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// `TCP_DEFER_ACCEPT`, which no crate has by name: the seconds after which a connection that has sent nothing
/// is accepted.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod defer_accept {
    use nix::libc;
    use nix::sys::socket::sockopt::SetUsize;

    #[derive(Debug, Clone, Copy)]
    pub(super) struct DeferAccept;

    nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, usize, SetUsize);
}

/// Whether accepted sockets inherit the options of the listener, which saves a system call for each.
pub(crate) const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The socket options of `Config`.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
    notsent_lowat: Option<u32>,
    send_buffer: Option<usize>,
    defer_accept: Option<Duration>,
}

impl Options {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            keepalive: config.tcp_keepalive,
            user_timeout: config.tcp_user_timeout,
            notsent_lowat: config.tcp_notsent_lowat,
            send_buffer: config.send_buffer_bytes,
            defer_accept: config.tcp_defer_accept,
        }
    }

    pub(crate) fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // Events are written whole as they happen, so waiting for more bytes would only delay them.
        socket.set_tcp_nodelay(true)?;
        if let Some(time) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(time) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(time))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.notsent_lowat {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        self.set_of_any(socket)
    }

    /// Sets the options of a listener, and those that accepted sockets inherit.
    pub(crate) fn set_of_listener(&self, listener: &TcpListener) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(time) = self.defer_accept {
            // The kernel counts whole seconds.
            let seconds = usize::try_from(time.as_millis().div_ceil(1000)).unwrap_or(usize::MAX);
            nix::sys::socket::setsockopt(listener, defer_accept::DeferAccept, &seconds)?;
        }
        if INHERITED { self.set(&SockRef::from(listener)) } else { Ok(()) }
    }

    /// Sets the options that unix sockets have too.
    pub(crate) fn set_of_any(&self, socket: &SockRef<'_>) -> io::Result<()> {
        self.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
    }
}
