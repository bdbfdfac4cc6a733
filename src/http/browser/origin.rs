//! Origins as browsers send them (RFC 6454 6.2, WHATWG HTML 7.1.1).

use crate::http::browser::host::{serialized, split_port};
use std::borrow::Cow;

const FORM: &str = "must each be scheme://host or scheme://host:port, without wildcards";

/// Checks that a page can have this origin. An origin in another spelling would silently match no page.
pub(super) fn check(origin: &str) -> Result<(), Cow<'static, str>> {
    if origin == "null" {
        return Ok(());
    }
    let sent = as_sent(origin)?;
    if sent == origin {
        return Ok(());
    }
    Err(format!("must be spelled as browsers send them: {sent:?}, not {origin:?}").into())
}

/// The origin that a browser sends for a page at `url`.
fn as_sent(url: &str) -> Result<String, &'static str> {
    if url == "*" {
        return Err("must not be *: that is Cors::any");
    }
    if !url.is_ascii() {
        return Err(
            "must be ASCII: browsers send the punycode of other names, such as https://xn--tda.example",
        );
    }
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or(FORM)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "file" => return Err("must not be file://: the origin of local files is null"),
        // A page opens such a URL; it never comes from one.
        "ws" => "http".to_owned(),
        "wss" => "https".to_owned(),
        scheme => scheme.to_owned(),
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let (host, port) = split_port(authority);
    let (host, own_port) = match scheme.as_str() {
        "http" => (serialized(host), Some(80)),
        "https" => (serialized(host), Some(443)),
        // Such as those of extensions and apps. The standard has no rules for their hosts.
        _ => (is_opaque_host(host).then(|| host.to_ascii_lowercase()), None),
    };
    let host = host.ok_or(FORM)?;
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(parse_port(port).ok_or(FORM)?).filter(|port| Some(*port) != own_port),
    };
    Ok(match port {
        None => format!("{scheme}://{host}"),
        Some(port) => format!("{scheme}://{host}:{port}"),
    })
}

fn is_scheme(scheme: &str) -> bool {
    let is_in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.bytes().all(is_in_scheme)
}

fn is_opaque_host(host: &str) -> bool {
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(is_in_name)
}

fn parse_port(port: &str) -> Option<u16> {
    port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn origins_as_browsers_send_them() {
        for origin in [
            "https://a.example",
            "http://localhost:3000",
            "http://localhost.",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://[::1]",
            "http://[::ffff:7f00:1]",
            "https://a_b-c.example:80",
            "http://a.example:443",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            "moz-extension://0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
            "null",
        ] {
            assert_eq!(check(origin), Ok(()), "{origin}");
        }
    }

    #[test]
    fn an_origin_in_another_spelling_gets_the_right_one_proposed() {
        for (origin, sent) in [
            ("https://a.example/", "https://a.example"),
            ("https://a.example/path?query#fragment", "https://a.example"),
            ("https://a.example?", "https://a.example"),
            ("https://A.example", "https://a.example"),
            ("HTTPS://a.example", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:", "http://a.example"),
            ("http://a.example:080", "http://a.example"),
            ("http://a.example:08080", "http://a.example:8080"),
            ("https://user:password@a.example", "https://a.example"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[0:0:0::1]:8080", "http://[::1]:8080"),
            ("http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]"),
            ("http://127.1", "http://127.0.0.1"),
            ("http://127.0.0.1.:8080", "http://127.0.0.1:8080"),
            ("ws://a.example:80", "http://a.example"),
            ("wss://a.example/events", "https://a.example"),
            ("Capacitor://LocalHost/", "capacitor://localhost"),
        ] {
            let problem = check(origin).unwrap_err();
            assert!(problem.ends_with(&format!(": {sent:?}, not {origin:?}")), "{problem}");
            assert_eq!(check(sent), Ok(()), "{sent}");
        }
    }

    #[test]
    fn other_texts_than_origins_are_refused() {
        let schemes = ["", "a.example", "a.example:80", "//a.example", "https:a.example", "1://a", "NULL"];
        let hosts =
            ["https://", "https://:80", "http:///", "https://u@", "app://", "https://a b", "http://a..b"];
        let addresses =
            ["https://[::1", "https://[a]", "http://::1", "http://1.2.3.4.5", "http://[fe80::1%25e]"];
        let ports = ["https://a:b", "https://a:65536", "https://a:+80", "https://a:80:80"];
        let others = ["https://*.example", "https://a\r\nb", "http://a%62", "http://a, http://b"];
        for origin in schemes.iter().chain(&hosts).chain(&addresses).chain(&ports).chain(&others) {
            assert_eq!(check(origin), Err(FORM.into()), "{origin:?}");
        }
        let says = |origin: &str, word: &str| {
            let problem = check(origin).unwrap_err();
            assert!(problem.contains(word), "{origin}: {problem}");
        };
        says("*", "Cors::any");
        says("file://", "null");
        says("file:///home", "null");
        says("https://\u{fc}.example", "punycode");
    }

    proptest! {
        /// A browser can send every proposed origin.
        #[test]
        fn proposed_origins_are_accepted(
            url in "(https?|HTTP|wss?|app)://[a-zA-Z0-9.x:@\\[\\]-]{0,12}(:[0-9]{0,5})?[/?]?",
        ) {
            if let Ok(sent) = as_sent(&url) {
                prop_assert_eq!(check(&sent), Ok(()));
            }
        }
    }
}
