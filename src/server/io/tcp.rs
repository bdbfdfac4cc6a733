//! Listens on TCP, on all addresses of a name.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Whether the kernel distributes connections evenly among several listeners on one address (`SO_REUSEPORT`).
/// On other systems the last listener gets all, or the distribution is uneven.
pub(crate) const SHARES_OUT: bool = cfg!(any(target_os = "android", target_os = "linux"));

/// Whether a listener shares its address with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    No,
    /// The first of several listeners that share an address.
    First,
    Further,
}

/// How often another port is drawn if a port that is free on the first address is taken on another one.
const REDRAWS: usize = 15;

/// Listens on all of `addresses`, which are those of one name. Addresses that this machine does not have are
/// skipped, unless none is left. Those with port 0 share one port, which the operating system draws. `all`
/// contains every address that the server will listen on, including these.
pub(crate) fn listen(
    addresses: &[SocketAddr],
    all: &[SocketAddr],
    backlog: u32,
    sharing: Sharing,
) -> io::Result<Vec<TcpListener>> {
    listen_on_each(addresses, |address, port| {
        let only_v6 = is_only_v6(address, addresses, all);
        let mut at = address;
        at.set_port(port);
        let listener = listen_on(at, backlog, only_v6, sharing)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    })
}

/// Listens on all of `addresses` by `listen`, which gets an address and the port to use, and returns a
/// listener and its port.
fn listen_on_each<L>(
    addresses: &[SocketAddr],
    mut listen: impl FnMut(SocketAddr, u16) -> io::Result<(L, u16)>,
) -> io::Result<Vec<L>> {
    let mut redraws = REDRAWS;
    'draw: loop {
        let (mut listeners, mut drawn, mut absent) = (Vec::new(), None, None);
        for (index, &address) in addresses.iter().enumerate() {
            // A name may have an address twice: every line of `/etc/hosts` counts.
            if addresses[..index].contains(&address) {
                continue;
            }
            let draws = address.port() == 0;
            let port = if draws { drawn.unwrap_or(0) } else { address.port() };
            let mut named = address;
            named.set_port(port);
            match listen(address, port) {
                Ok((listener, port)) => {
                    drawn = drawn.or(draws.then_some(port));
                    listeners.push(listener);
                }
                Err(error) if is_absent(&error) => {
                    log::debug!("skipped an address that this machine does not have: {named}: {error}");
                    absent = absent.or(Some(on(named, &error)));
                }
                Err(error) if draws && drawn.is_some() && redraws > 0 && is_taken(&error) => {
                    redraws -= 1;
                    continue 'draw;
                }
                Err(error) => return Err(on(named, &error)),
            }
        }
        let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        return if listeners.is_empty() { Err(absent.unwrap_or_else(nothing)) } else { Ok(listeners) };
    }
}

/// The same error with the address in its text.
fn on(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

/// The error of a machine that has no such address family, which has no `io::ErrorKind`.
#[cfg(unix)]
const NO_SUCH_FAMILY: i32 = nix::errno::Errno::EAFNOSUPPORT as i32;
/// `WSAEAFNOSUPPORT`.
#[cfg(not(unix))]
const NO_SUCH_FAMILY: i32 = 10_047;

/// Whether the machine does not have this address, or no address of the family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

/// Whether a port that was drawn for another address cannot be had for this one. Windows denies access to
/// ports that it has reserved, or that another program uses exclusively.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Whether a listener on `address` must not accept IPv4, because another listener does. Otherwise `[::]` has
/// the system's default, which on Linux is to accept IPv4 too. Port 0 is a different port for each name.
fn is_only_v6(address: SocketAddr, same_name: &[SocketAddr], all: &[SocketAddr]) -> bool {
    let others = if address.port() == 0 { same_name } else { all };
    address.is_ipv6() && others.iter().any(|other| other.is_ipv4() && other.port() == address.port())
}

/// Uses socket2, because std and mio listen with a fixed backlog of some 128.
fn listen_on(address: SocketAddr, backlog: u32, only_v6: bool, sharing: Sharing) -> io::Result<TcpListener> {
    if sharing == Sharing::First && address.port() != 0 {
        // A shared bind succeeds even if another program has the address, for example this one started twice.
        // This bind fails then.
        drop(bind(address, only_v6, Sharing::No)?);
    }
    let socket = bind(address, only_v6, sharing)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, only_v6: bool, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections in TIME_WAIT. On Windows the option has another meaning.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if sharing != Sharing::No {
        share(&socket)?;
    }
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn share(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Not where [`SHARES_OUT`] is false.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn share(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    /// Listens on `of` with `listen` as the result of each call. Returns the result and the addresses called
    /// with.
    fn calls(
        of: &[&str],
        mut listen: impl FnMut(usize, SocketAddr) -> io::Result<u16>,
    ) -> (io::Result<Vec<SocketAddr>>, Vec<String>) {
        let mut called = Vec::new();
        let result = listen_on_each(&addresses(of), |mut address, port| {
            address.set_port(port);
            called.push(address.to_string());
            listen(called.len(), address).map(|port| (address, port))
        });
        (result, called)
    }

    #[test]
    fn another_port_is_drawn_when_a_further_address_does_not_have_it() {
        // The third port is free on both. Windows has a word of its own for one that it has reserved.
        let (result, called) = calls(&["127.0.0.1:0", "[::1]:0"], |call, address| match address.port() {
            0 => Ok(4000 + u16::try_from(call).unwrap()),
            4001 => Err(PermissionDenied.into()),
            4005 => Ok(4005),
            _ => Err(AddrInUse.into()),
        });
        assert_eq!(result.unwrap(), addresses(&["127.0.0.1:0", "[::1]:4005"]));
        let draws = ["127.0.0.1:0", "[::1]:4001", "127.0.0.1:0", "[::1]:4003", "127.0.0.1:0", "[::1]:4005"];
        assert_eq!(called, draws);
    }

    #[test]
    fn a_port_is_not_drawn_for_ever() {
        let (result, called) = calls(&["127.0.0.1:0", "[::1]:0"], |_, address| {
            if address.port() == 0 { Ok(4000) } else { Err(AddrInUse.into()) }
        });
        let error = result.unwrap_err();
        assert_eq!(error.kind(), AddrInUse);
        assert!(error.to_string().starts_with("cannot listen on [::1]:4000: "), "{error}");
        assert_eq!(called.len(), 2 * (REDRAWS + 1));
    }

    #[test]
    fn a_port_that_was_asked_for_is_not_drawn_again() {
        for of in [["127.0.0.1:80", "[::1]:80"], ["127.0.0.1:0", "[::1]:80"], ["[::1]:80", "127.0.0.1:0"]] {
            let (result, called) = calls(&of, |_, address| match address.port() {
                80 if address.is_ipv6() => Err(AddrInUse.into()),
                port => Ok(port),
            });
            assert_eq!(result.unwrap_err().kind(), AddrInUse);
            assert_eq!(called.iter().filter(|address| *address == "[::1]:80").count(), 1);
        }
    }

    #[test]
    fn missing_addresses_are_skipped_while_one_is_left() {
        let no_family = || io::Error::from_raw_os_error(NO_SUCH_FAMILY);
        let of = ["[::1]:0", "192.0.2.1:0", "127.0.0.1:0", "127.0.0.2:0"];
        let (result, called) = calls(&of, |_, address| match address.ip().to_string().as_str() {
            "::1" => Err(no_family()),
            "192.0.2.1" => Err(AddrNotAvailable.into()),
            _ => Ok(4000),
        });
        assert_eq!(result.unwrap(), addresses(&["127.0.0.1:0", "127.0.0.2:4000"]));
        assert_eq!(called.len(), 4);
        let (result, _) = calls(&["[::1]:80", "192.0.2.1:80"], |call, _| {
            Err(if call == 1 { no_family() } else { AddrNotAvailable.into() })
        });
        let error = result.unwrap_err();
        assert!(error.to_string().starts_with("cannot listen on [::1]:80: "), "{error}");
        // Any other failure is an error, even if another address works.
        let (result, _) = calls(&["127.0.0.1:80", "127.0.0.2:80"], |call, _| {
            if call == 1 { Ok(80) } else { Err(PermissionDenied.into()) }
        });
        assert_eq!(result.unwrap_err().kind(), PermissionDenied);
    }

    #[test]
    fn an_address_that_a_name_has_twice_is_one() {
        let (result, called) = calls(&["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:80"], |_, _| Ok(4000));
        assert_eq!(result.unwrap().len(), 2);
        assert_eq!(called, ["127.0.0.1:0", "127.0.0.1:80"]);
    }

    #[test]
    fn ipv6_leaves_ipv4_alone_only_where_another_listener_takes_it() {
        let is_only_v6 = |address: &str, same_name: &[&str], others: &[&str]| {
            let same_name = addresses(same_name);
            let all: Vec<_> = same_name.iter().copied().chain(addresses(others)).collect();
            is_only_v6(address.parse().unwrap(), &same_name, &all)
        };
        assert!(!is_only_v6("[::]:80", &["[::]:80"], &[]));
        assert!(!is_only_v6("[::]:80", &["[::]:80"], &["127.0.0.1:81", "[::1]:80"]));
        assert!(is_only_v6("[::]:80", &["[::]:80"], &["0.0.0.0:80"]));
        assert!(is_only_v6("[::]:0", &["0.0.0.0:0", "[::]:0"], &[]));
        assert!(!is_only_v6("[::]:0", &["[::]:0"], &["0.0.0.0:0"]), "the ports will differ");
        assert!(!is_only_v6("0.0.0.0:80", &["0.0.0.0:80", "0.0.0.0:80"], &[]));
    }
}
