//! Socket options, as configured.

use crate::config::Config;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// Options that only Linux has.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::{Config, Duration, SockRef, TcpListener, io};
    use nix::libc;
    use nix::sys::socket::setsockopt;
    use nix::sys::socket::sockopt::SetUsize;

    /// `TCP_DEFER_ACCEPT`, which no crate has by name: the seconds after which a connection that has sent
    /// nothing is accepted.
    #[derive(Debug, Clone, Copy)]
    struct DeferAccept;

    nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, usize, SetUsize);

    #[derive(Debug, Clone)]
    pub(super) struct LinuxOptions {
        user_timeout: Option<Duration>,
        notsent_lowat: Option<u32>,
        defer_accept: Option<Duration>,
    }

    impl LinuxOptions {
        pub(super) fn new(config: &Config) -> Self {
            Self {
                user_timeout: config.tcp_user_timeout,
                notsent_lowat: config.tcp_notsent_lowat,
                defer_accept: config.tcp_defer_accept,
            }
        }

        pub(super) fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
            if let Some(time) = self.user_timeout {
                socket.set_tcp_user_timeout(Some(time))?;
            }
            self.notsent_lowat.map_or(Ok(()), |bytes| socket.set_tcp_notsent_lowat(bytes))
        }

        pub(super) fn set_of_listener(&self, listener: &TcpListener) -> io::Result<()> {
            if let Some(time) = self.defer_accept {
                // The kernel counts whole seconds.
                let seconds = usize::try_from(time.as_millis().div_ceil(1000)).unwrap_or(usize::MAX);
                setsockopt(listener, DeferAccept, &seconds)?;
            }
            Ok(())
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod linux {
    use super::{Config, SockRef, TcpListener, io};

    #[derive(Debug, Clone)]
    pub(super) struct LinuxOptions;

    impl LinuxOptions {
        pub(super) fn new(_config: &Config) -> Self {
            Self
        }

        pub(super) fn set(&self, _socket: &SockRef<'_>) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn set_of_listener(&self, _listener: &TcpListener) -> io::Result<()> {
            Ok(())
        }
    }
}

/// Whether accepted sockets inherit the options of the listener, which saves a system call for each.
pub(crate) const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The socket options of `Config`.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    keepalive: Option<Duration>,
    send_buffer: Option<usize>,
    linux: linux::LinuxOptions,
}

impl Options {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            keepalive: config.tcp_keepalive,
            send_buffer: config.send_buffer_bytes,
            linux: linux::LinuxOptions::new(config),
        }
    }

    fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // Events are written whole as they happen, so waiting for more bytes would only delay them.
        socket.set_tcp_nodelay(true)?;
        if let Some(time) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
        }
        self.linux.set(socket)?;
        self.set_of_any(socket)
    }

    /// Sets the options of a listener, and those that accepted sockets inherit.
    pub(crate) fn set_of_listener(&self, listener: &TcpListener) -> io::Result<()> {
        self.linux.set_of_listener(listener)?;
        if INHERITED { self.set(&SockRef::from(listener)) } else { Ok(()) }
    }

    /// Sets the options of a connection that has not inherited them. It keeps those it has if the system
    /// refuses: a unix socket has none of TCP, and on macOS a connection whose peer has left has none at all.
    /// Reading tells what happened to it.
    pub(crate) fn set_of_connection(&self, socket: &SockRef<'_>) {
        or_keep(self.set(socket));
    }

    /// Sets the options of a connection that is a unix socket.
    #[cfg(unix)]
    pub(crate) fn set_of_unix(&self, socket: &SockRef<'_>) {
        or_keep(self.set_of_any(socket));
    }

    fn set_of_any(&self, socket: &SockRef<'_>) -> io::Result<()> {
        self.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
    }
}

fn or_keep(set: io::Result<()>) {
    if let Err(error) = set {
        log::debug!("a connection keeps the options that it has: {error}");
    }
}
