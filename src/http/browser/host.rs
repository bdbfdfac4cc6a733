//! Hosts as clients write them: the host serializer of the URL standard (WHATWG URL 3.5), for ASCII.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The most bytes in a name, and in one of its labels (RFC 1035 2.3.4). Longer names do not resolve.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// `host` as a browser writes it in an http or https URL: names in lower case, addresses in their shortest
/// form. `None` if it is neither an address nor a name that can resolve. Names in other alphabets must be in
/// punycode already.
pub(super) fn serialized(host: &str) -> Option<String> {
    if let Some(literal) = host.strip_prefix('[') {
        return Some(serialize_ipv6(literal.strip_suffix(']')?.parse().ok()?));
    }
    // A name may end with the dot of the root, an address may not.
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    if labels.last().is_some_and(|last| is_number(last)) {
        return parse_ipv4(&labels).map(|address| address.to_string());
    }
    let resolves = host.len() <= NAME_BYTES_MAX && labels.iter().all(|label| is_label(label));
    resolves.then(|| host.to_ascii_lowercase())
}

/// Splits an authority into its host and the text after the colon.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The address in `[::1]`.
pub(super) fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// With brackets. Unlike the standard library, browsers never write the last 32 bits as an IPv4 address.
fn serialize_ipv6(address: Ipv6Addr) -> String {
    match address.to_ipv4_mapped() {
        None => format!("[{address}]"),
        Some(_) => {
            let [.., high, low] = address.segments();
            format!("[::ffff:{high:x}:{low:x}]")
        }
    }
}

fn is_label(label: &str) -> bool {
    let is_in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_in_label)
}

/// Whether a host that ends with this label must be an IPv4 address.
fn is_number(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()) || parse_number(label).is_some()
}

/// One to four numbers. The last one fills the remaining bytes: `127.1` is `127.0.0.1`.
fn parse_ipv4(parts: &[&str]) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = parts.iter().map(|part| parse_number(part)).collect::<Option<_>>()?;
    let (&last, first) = numbers.split_last().filter(|(_, first)| first.len() < 4)?;
    let mut address = u64::from(last);
    let bytes_left = 4 - first.len();
    if address >> (8 * bytes_left) != 0 {
        return None;
    }
    for (at, &number) in first.iter().enumerate() {
        address |= u64::from(u8::try_from(number).ok()?) << (8 * (3 - at));
    }
    Some(Ipv4Addr::from(u32::try_from(address).ok()?))
}

/// A number in decimal, octal or hexadecimal, as in C.
fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.is_empty() && radix == 16 {
        return Some(0);
    }
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_browsers_do() {
        // The value of `new URL(...).host` in a browser and in Node.
        for (host, written) in [
            ("a.example", "a.example"),
            ("A.Example", "a.example"),
            ("localhost", "localhost"),
            ("localhost.", "localhost."),
            ("a_b", "a_b"),
            ("-a-", "-a-"),
            ("xn--tda.example", "xn--tda.example"),
            ("a.0xg", "a.0xg"),
            ("1.a", "1.a"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("1.2.772", "1.2.3.4"),
            ("0x7f.1", "127.0.0.1"),
            ("0X7F.000.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("010.0.0.0x", "8.0.0.0"),
            ("1.", "0.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0::1]", "[::1]"),
            ("[2001:DB8::]", "[2001:db8::]"),
            ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
            ("[::1.2.3.4]", "[::102:304]"),
            ("[1:0:0:2:0:0:0:3]", "[1:0:0:2::3]"),
            ("[1:0:0:2:3:0:0:4]", "[1::2:3:0:0:4]"),
            ("[1:2:3:4:5:6:0:8]", "[1:2:3:4:5:6:0:8]"),
        ] {
            assert_eq!(serialized(host).as_deref(), Some(written), "{host}");
            // A serialized host does not change again.
            assert_eq!(serialized(written).as_deref(), Some(written), "{host}");
        }
    }

    #[test]
    fn other_texts_than_hosts_are_refused() {
        let numbers =
            ["a.0x1", "1.2.3.4.5", "256.1.1.1", "1.1.1.256", "a.09", "1.2.3.08", "4294967296", "1..2"];
        let names =
            ["", ".", "a..b", ".a", "a..", "a b", "*.a", "a%62", "\u{fc}", "a/b", "a:80", "a@b", "u+"];
        let addresses = ["[", "[]", "[::1", "::1", "[::1]a", "[fe80::1%25eth0]", "[a]", "[127.0.0.1]"];
        for host in numbers.iter().chain(&names).chain(&addresses) {
            assert_eq!(serialized(host), None, "{host:?}");
        }
        let label = "a".repeat(63);
        assert!(serialized(&label).is_some() && serialized(&format!("a{label}")).is_none());
        let name = [&*label; 4].join(".");
        assert!(serialized(&name[2..]).is_some() && serialized(&name[1..]).is_none());
    }

    #[test]
    fn ports_are_split_off() {
        assert_eq!(split_port("a"), ("a", None));
        assert_eq!(split_port("a:80"), ("a", Some("80")));
        assert_eq!(split_port("a:"), ("a", Some("")));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some("80")));
    }
}
