//! The hosts that a server serves: [`Config::hosts`](crate::Config::hosts).

use crate::error::ConfigError;
use crate::http::browser::host::{ipv6, serialized, split_port};
use std::borrow::Cow;
use std::net::Ipv6Addr;

const FORM: &str = "must each be a host name or an address, alone or with a port, without wildcards";

/// Checks the list, for [`Config::check`](crate::Config::check).
pub(crate) fn check(hosts: &[String]) -> Result<(), ConfigError> {
    hosts.iter().try_for_each(|host| check_one(host).map_err(|problem| ConfigError::new("hosts", problem)))
}

/// Whether to serve a request with this host and port (RFC 9110 7.2).
pub(crate) fn is_served(hosts: &[String], named: Option<&str>) -> bool {
    hosts.is_empty() || named.is_some_and(|named| hosts.iter().any(|host| is_same(host, named)))
}

fn check_one(entry: &str) -> Result<(), Cow<'static, str>> {
    if entry.contains('/') {
        return Err("must be hosts, such as localhost or localhost:8080, not URLs".into());
    }
    if !entry.is_ascii() {
        return Err("must be ASCII: clients send the punycode of other names, such as xn--tda.example".into());
    }
    let (host, port) = split_port(entry);
    if entry.parse::<Ipv6Addr>().is_ok() {
        return Err(spelled(entry, &format!("[{entry}]")));
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
    let written = serialized(host).filter(|_| port.is_none_or(is_port)).ok_or(FORM)?;
    if written.eq_ignore_ascii_case(host) || ipv6(host).is_some() {
        return Ok(());
    }
    Err(spelled(entry, &format!("{written}{}", &entry[host.len()..])))
}

fn spelled(entry: &str, written: &str) -> Cow<'static, str> {
    format!("must be spelled as clients send them: {written:?}, not {entry:?}").into()
}

/// Whether an entry of the list is the host of a request. An entry without a port is that host on all ports.
/// A request without a port means that of its scheme, which may have been https before a proxy.
fn is_same(entry: &str, named: &str) -> bool {
    let ((host, port), (named_host, named_port)) = (split_port(entry), split_port(named));
    let is_host = host.eq_ignore_ascii_case(named_host)
        || ipv6(host).is_some_and(|address| ipv6(named_host) == Some(address));
    is_host
        && port.is_none_or(|port| match named_port {
            None | Some("") => port == "80" || port == "443",
            Some(named) => named.parse::<u16>().ok() == port.parse().ok(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(host: &str, named: &str) -> bool {
        is_served(&[host.to_owned()], Some(named))
    }

    #[test]
    fn a_host_on_all_ports_or_on_one() {
        for named in ["localhost", "localhost:80", "localhost:8080", "LocalHost:1", "localhost:"] {
            assert!(served("localhost", named), "{named}");
        }
        for named in ["localhost:8080", "LOCALHOST:8080", "localhost:08080"] {
            assert!(served("LocalHost:8080", named), "{named}");
        }
        for named in ["localhost", "localhost:", "localhost:80", "localhost:808", "localhost:18080"] {
            assert!(!served("localhost:8080", named), "{named}");
        }
        for port in ["80", "443"] {
            for named in ["a", "a:", &format!("a:{port}")] {
                assert!(served(&format!("a:{port}"), named), "{named}");
            }
        }
        assert!(!served("a:80", "a:443"));
    }

    #[test]
    fn other_hosts() {
        let others = [
            "",
            ":8080",
            "localhost.",
            "localhost.evil",
            "evil.localhost",
            "xlocalhost",
            "local",
            "127.0.0.1",
        ];
        for named in others {
            assert!(!served("localhost", named), "{named}");
        }
        assert!(!is_served(&["localhost".to_owned()], None));
        let two = ["localhost".to_owned(), "a.example:80".to_owned()];
        assert!(is_served(&two, Some("a.example")) && !is_served(&two, Some("a.example:81")));
        assert!(is_served(&[], None) && is_served(&[], Some("a")));
    }

    #[test]
    fn addresses_are_compared_as_such() {
        for named in ["[::1]", "[::1]:80", "[0:0:0:0:0:0:0:1]:8080", "[::0001]"] {
            assert!(served("[::1]", named) && served("[0::1]", named), "{named}");
        }
        assert!(served("[::1]:8080", "[0::1]:8080") && !served("[::1]:8080", "[::1]:80"));
        assert!(!served("[::1]", "[::2]") && !served("[::1]", "::1") && !served("[::1]", "[::1"));
        assert!(served("127.0.0.1", "127.0.0.1:80") && !served("127.0.0.1", "127.0.0.11"));
    }

    #[test]
    fn a_list_of_hosts() {
        let list = |hosts: &[&str]| check(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        let good = [
            "localhost",
            "LocalHost:8080",
            "a.example.",
            "127.0.0.1:1",
            "[::1]",
            "[0::1]:80",
            "xn--tda.example",
        ];
        assert_eq!((list(&[]), list(&good)), (Ok(()), Ok(())));
        let says = |host: &str, word: &str| {
            let error = list(&["localhost", host]).unwrap_err();
            assert_eq!(error.limit(), "hosts");
            assert!(error.to_string().contains(word), "{host:?}: {error}");
        };
        for host in ["http://localhost", "localhost/", "/run/sock"] {
            says(host, "URLs");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a..b",
            "*",
            "*.a.example",
            ".a",
            "u@a",
            "a:",
            "a:x",
            "a:65536",
            "a:080",
            "[::1",
        ] {
            says(host, FORM);
        }
        says("\u{fc}.example", "punycode");
        says("::1", "\"[::1]\", not \"::1\"");
        says("127.1:80", "\"127.0.0.1:80\", not \"127.1:80\"");
    }
}
