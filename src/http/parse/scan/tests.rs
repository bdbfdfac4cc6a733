use super::*;
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { head_bytes_max: 256, target_bytes_max: 32, headers_max: 3, body_bytes_max: 0 };

/// The verdict, and how many bytes had been scanned by then.
fn scan(bytes: &[u8]) -> (Result<bool, Rejection>, usize) {
    let mut scan = HeadScan::default();
    let verdict = scan.advance(bytes, &LIMITS);
    (verdict, scan.scanned())
}

fn rejection(bytes: impl AsRef<[u8]>) -> Rejection {
    scan(bytes.as_ref()).0.unwrap_err()
}

#[test]
fn a_head_ends_at_its_empty_line() {
    assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"), (Ok(true), 27));
    assert_eq!(scan(b"GET / HTTP/1.0\r\n\r\n"), (Ok(true), 18));
    assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), (Ok(false), 26));
}

#[test]
fn line_ends_and_controls_are_judged_at_once() {
    assert_eq!(rejection("GET / HTTP/1.1\r\nA: b\rc"), Rejection::BareCarriageReturn);
    assert_eq!(rejection("GET / HTTP/1.1\r\nA: b\r\r"), Rejection::BareCarriageReturn);
    assert_eq!(rejection("GET / HTTP/1.1\rX"), Rejection::BareCarriageReturn);
    assert_eq!(rejection("GET / HTTP/1.1\n"), Rejection::BareLineFeed);
    assert_eq!(rejection("GET / HTTP/1.1\r\nA: b\n"), Rejection::BareLineFeed);
    assert_eq!(rejection("GET /\0"), Rejection::ControlCharacter);
    assert_eq!(rejection("GET / HTTP/1.1\r\nA: \0"), Rejection::ControlCharacter);
    assert_eq!(rejection("GET / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked"), Rejection::ControlCharacter);
    assert_eq!(rejection("\x16\x03\x01"), Rejection::TlsHandshake);
    assert_eq!(rejection("G\x16"), Rejection::ControlCharacter);
}

#[test]
fn a_tab_is_allowed_in_headers_only() {
    assert_eq!(scan(b"GET / HTTP/1.1\r\nA:\tb\r\n").0, Ok(false));
    assert_eq!(rejection("GET\t"), Rejection::MalformedRequestLine);
    assert_eq!(rejection("GET /\t"), Rejection::MalformedRequestLine);
    assert_eq!(rejection("GET / HTTP/1.1\t"), Rejection::MalformedRequestLine);
}

#[test]
fn the_request_line_has_three_parts() {
    for line in
        [" ", "GET  ", "GET / HTTP/1.1 ", "GET\r\n", "GET \r\n", "GET /\r\n", "GET / \r\n", "GET / a b"]
    {
        assert_eq!(rejection(line), Rejection::MalformedRequestLine, "{line:?}");
    }
}

#[test]
fn other_versions_are_told_from_garbage() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3", "HTTP/1.", "HTTP/11"] {
        assert_eq!(rejection(format!("GET / {version}\r\n")), Rejection::UnsupportedVersion, "{version}");
    }
    for version in [
        "http/1.1",
        "HTTP/",
        "HTTP/x.y",
        "HTTP",
        "HTTQ/1.1",
        "HTTP/1.10",
        "HTTP/1.a",
        "HTTP/1./",
        "HTTP/1.:",
        "1",
    ] {
        assert_eq!(rejection(format!("GET / {version}\r\n")), Rejection::MalformedRequestLine, "{version}");
    }
    assert_eq!(rejection("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Rejection::UnsupportedVersion);
}

#[test]
fn lengths_are_judged_at_the_first_byte_too_many() {
    let method = "M".repeat(METHOD_BYTES_MAX);
    assert_eq!(scan(method.as_bytes()).0, Ok(false));
    assert_eq!(rejection(method.clone() + "M"), Rejection::MethodTooLong);
    assert_eq!(scan(format!("{method} /").as_bytes()).0, Ok(false));

    let target = "/".repeat(LIMITS.target_bytes_max);
    assert_eq!(scan(format!("GET {target}").as_bytes()).0, Ok(false));
    assert_eq!(scan(format!("GET {target} HTTP/1.1").as_bytes()).0, Ok(false));
    assert_eq!(rejection(format!("GET {target}/")), Rejection::TargetTooLong);
    assert_eq!(rejection(format!("GET {target}/\0")), Rejection::TargetTooLong);
    assert_eq!(rejection(format!("GET {target}\0")), Rejection::ControlCharacter);
}

#[test]
fn a_head_may_fill_its_limit_and_not_more() {
    let head = |len: usize| format!("GET / HTTP/1.1\r\nA:{}\r\n\r\n", "a".repeat(len - 22));
    assert_eq!(scan(head(256).as_bytes()), (Ok(true), 256));
    assert_eq!(scan(head(257).as_bytes()), (Err(Rejection::HeadTooLarge), 256));
    // A byte beyond the limit does not count, whatever it is.
    assert_eq!(rejection(head(300).replace("\r\n\r\n", "\0")), Rejection::HeadTooLarge);
}

#[test]
fn header_lines_are_counted() {
    let head = |lines: usize| format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(lines));
    assert_eq!(scan((head(3) + "\r\n").as_bytes()).0, Ok(true));
    assert_eq!(rejection(head(4)), Rejection::TooManyHeaders);
}

proptest! {
    #[test]
    fn the_block_search_agrees_with_the_plain_one(
        bytes in prop::collection::vec(prop_oneof![9 => 0x21_u8.., 1 => 0_u8..=0x21], 0..100),
        bound in prop_oneof![Just(LAST_CONTROL), Just(b' ')],
    ) {
        prop_assert_eq!(
            position_of_at_most(bound, &bytes),
            bytes.iter().position(|&byte| byte <= bound)
        );
    }
}
