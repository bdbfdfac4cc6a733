//! The places where a server listens: any number of TCP addresses and unix sockets.

use crate::config::Config;
use crate::server::io::listener::Listener;
use crate::server::io::options::Options;
use crate::server::io::secured::Tls;
use crate::server::io::tcp::{self, SHARES_OUT, Sharing};
#[cfg(feature = "tls")]
use crate::server::io::tls::config::TlsConfig;
#[cfg(unix)]
use crate::server::io::unix;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::{Path, PathBuf};

/// The places where a server listens, for [`Server::listen`](crate::Server::listen): any number of TCP
/// addresses, unix sockets, and existing listeners.
///
/// Nothing is opened before the server is built, and then all or nothing: if one listener fails,
/// [`Server::listen`](crate::Server::listen) returns an error that names its address.
///
/// Connections are accepted from all listeners in turn, one from each, so many clients at one listener do not
/// delay those of another. All count towards the same limits, such as [`Config::connections_max`] and
/// [`Config::accepts_per_turn`].
///
/// ```no_run
/// use mio_sse::{Config, Event, Listeners, Router, Server};
///
/// let mut app = Router::new();
/// app.sse("/hello", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
/// # #[cfg(unix)]
/// let listeners = Listeners::new().tcp("localhost:8080").unix("/run/hello.sock");
/// # #[cfg(not(unix))]
/// # let listeners = Listeners::new().tcp("localhost:8080");
/// Server::listen(listeners, app, Config::default())?.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a server listens on it: Server::listen"]
pub struct Listeners {
    places: Vec<Place>,
    to_fewest: bool,
}

#[derive(Debug)]
enum Place {
    /// The addresses of one name, or why there are none.
    Tcp(io::Result<Vec<SocketAddr>>, Option<Tls>),
    TcpListener(TcpListener, Option<Tls>),
    #[cfg(unix)]
    Unix(PathBuf),
    #[cfg(unix)]
    UnixListener(UnixListener),
}

impl Listeners {
    /// No listeners. Such a server serves only connections that it [adopts](crate::Server::adopt).
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on all addresses of `address`. `localhost:8080` usually is `127.0.0.1:8080` and `[::1]:8080`:
    /// clients try them in their own order, and some try only one.
    ///
    /// - Names are resolved now, which may take a while. [`Server::listen`](crate::Server::listen) returns
    ///   the error if this fails.
    /// - An address that this machine does not have, or whose family it does not have, is skipped with a log
    ///   line (`debug`), as long as another one is left. Any other failure, such as a port in use on one of
    ///   them, is an error.
    /// - Port 0 chooses a free port, the same for all addresses of the name: see
    ///   [`Server::local_addr`](crate::Server::local_addr).
    /// - `0.0.0.0` is every IPv4 address and `[::]` every IPv6 one. `[::]` also accepts IPv4 if that is the
    ///   default of the system (Linux, unless `net.ipv6.bindv6only` is set), and if the server listens on no
    ///   IPv4 address with the same port.
    pub fn tcp(self, address: impl ToSocketAddrs) -> Self {
        self.with(Place::Tcp(address.to_socket_addrs().map(Iterator::collect), None))
    }

    /// Listens on all addresses of `address`, like [`tcp`](Self::tcp), for clients that speak TLS. Only with
    /// feature `tls`.
    ///
    /// A client that speaks HTTP without TLS there gets 400 and an explanation. [`TlsConfig`] has an example.
    #[cfg(feature = "tls")]
    pub fn tls(self, address: impl ToSocketAddrs, config: &TlsConfig) -> Self {
        self.with(Place::Tcp(address.to_socket_addrs().map(Iterator::collect), Some(config.clone())))
    }

    /// Listens on a unix socket. Its file is created and removed as by
    /// [`Server::bind_unix`](crate::Server::bind_unix).
    #[cfg(unix)]
    pub fn unix(self, path: impl AsRef<Path>) -> Self {
        self.with(Place::Unix(path.as_ref().to_owned()))
    }

    /// Serves an existing listener, see [`Server::from_listener`](crate::Server::from_listener). Add each one
    /// that systemd passes.
    pub fn tcp_listener(self, listener: TcpListener) -> Self {
        self.with(Place::TcpListener(listener, None))
    }

    /// Serves an existing listener, for clients that speak TLS. Only with feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls_listener(self, listener: TcpListener, config: &TlsConfig) -> Self {
        self.with(Place::TcpListener(listener, Some(config.clone())))
    }

    /// Serves an existing listener on a unix socket, see
    /// [`Server::from_unix_listener`](crate::Server::from_unix_listener).
    #[cfg(unix)]
    pub fn unix_listener(self, listener: UnixListener) -> Self {
        self.with(Place::UnixListener(listener))
    }

    /// For [`Shards`](crate::Shards): one loop accepts, and gives each connection to the loop that has the
    /// fewest. This is the default for unix sockets and existing listeners, and on all systems but Linux. On
    /// Linux each loop has its own listener on each TCP address by default, and the kernel distributes the
    /// connections by a hash of both ends (`SO_REUSEPORT`). That is a little cheaper, and even for thousands
    /// of connections; of 100 streams over 4 loops, one loop may get 30 and another 20.
    pub fn to_fewest(mut self) -> Self {
        self.to_fewest = true;
        self
    }

    fn with(mut self, place: Place) -> Self {
        self.places.push(place);
        self
    }

    /// Opens all listeners, for a number of loops. If one fails, the others are closed and their files
    /// removed. Returns the listeners of each loop, and whether the first loop accepts for others.
    pub(crate) fn open(
        self,
        loops: usize,
        config: &Config,
        options: &Options,
    ) -> io::Result<(Vec<Vec<Listener>>, bool)> {
        let shares = loops > 1 && SHARES_OUT && !self.to_fewest;
        let mut deals = loops > 1 && !shares;
        let addresses = |place: &Place| match place {
            Place::Tcp(Ok(addresses), _) => addresses.clone(),
            _ => Vec::new(),
        };
        let all: Vec<_> = self.places.iter().flat_map(addresses).collect();
        let mut of_loops: Vec<Vec<_>> = (0..loops).map(|_| Vec::new()).collect();
        let Some((listeners, further)) = of_loops.split_first_mut() else { return Ok((of_loops, false)) };
        for place in self.places {
            match place {
                Place::Tcp(addresses, tls) => {
                    let sharing = if shares { Sharing::First } else { Sharing::No };
                    let first = tcp::listen(&addresses?, &all, config.backlog, sharing)?;
                    let found: Vec<_> =
                        first.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
                    for listener in first {
                        listeners.push(Listener::tcp(listener, tls.clone(), options)?);
                    }
                    let mut all = all.clone();
                    all.extend(&found);
                    for others in further.iter_mut().filter(|_| shares) {
                        for listener in tcp::listen(&found, &all, config.backlog, Sharing::Further)? {
                            others.push(Listener::tcp(listener, tls.clone(), options)?);
                        }
                    }
                    continue;
                }
                Place::TcpListener(listener, tls) => listeners.push(Listener::tcp(listener, tls, options)?),
                #[cfg(unix)]
                Place::Unix(path) => {
                    let named = |error: io::Error| {
                        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
                    };
                    let (file, listener) = unix::listen(&path, config.backlog).map_err(named)?;
                    listeners.push(Listener::unix(Some(file), listener)?);
                }
                #[cfg(unix)]
                Place::UnixListener(listener) => listeners.push(Listener::unix(None, listener)?),
            }
            deals = loops > 1;
        }
        Ok((of_loops, deals))
    }
}
