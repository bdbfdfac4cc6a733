use super::*;

/// Authority, path and query of a target.
fn parts<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a str>, &'a str, Option<&'a str>), Rejection> {
    let text = |span: Span| span.part_of(target);
    split(method, target).map(|parts| (parts.authority.map(text), text(parts.path), parts.query.map(text)))
}

#[test]
fn origin_form() {
    assert_eq!(parts("GET", "/"), Ok((None, "/", None)));
    assert_eq!(parts("GET", "/a/b"), Ok((None, "/a/b", None)));
    assert_eq!(parts("GET", "/a?b=/c?d"), Ok((None, "/a", Some("b=/c?d"))));
    assert_eq!(parts("GET", "/?"), Ok((None, "/", Some(""))));
    assert_eq!(parts("GET", "//a/b"), Ok((None, "//a/b", None)));
}

#[test]
fn absolute_form() {
    assert_eq!(parts("GET", "http://host/path?q"), Ok((Some("host"), "/path", Some("q"))));
    assert_eq!(parts("GET", "HTTPS://host:1/p"), Ok((Some("host:1"), "/p", None)));
    assert_eq!(parts("GET", "http://[::1]:80"), Ok((Some("[::1]:80"), "", None)));
    assert_eq!(parts("GET", "http://host?q/r"), Ok((Some("host"), "", Some("q/r"))));
    for target in ["http://", "http:///path", "http://user@host/", "http:/host/", "ftp://host/", "http://ü/"]
    {
        assert_eq!(parts("GET", target), Err(Rejection::InvalidTarget), "{target}");
    }
}

#[test]
fn other_forms() {
    assert_eq!(parts("OPTIONS", "*"), Ok((None, "*", None)));
    assert_eq!(parts("GET", "*"), Err(Rejection::AsteriskWithoutOptions));
    assert_eq!(parts("OPTIONS", "*/"), Err(Rejection::InvalidTarget));
    assert_eq!(parts("CONNECT", "host:443"), Err(Rejection::ConnectUnsupported));
    assert_eq!(parts("CONNECT", "/"), Err(Rejection::ConnectUnsupported));
    assert_eq!(parts("GET", "host:443"), Err(Rejection::InvalidTarget));
    assert_eq!(parts("GET", "path"), Err(Rejection::InvalidTarget));
    assert_eq!(parts("GET", "?q"), Err(Rejection::InvalidTarget));
    assert_eq!(parts("GET", "/a#b"), Err(Rejection::FragmentInTarget));
    assert_eq!(parts("GET", "/a?b#c"), Err(Rejection::FragmentInTarget));
    // A cut in the middle of a character must not panic.
    assert_eq!(parts("GET", "http:/ü"), Err(Rejection::InvalidTarget));
}

#[test]
fn hosts() {
    for host in [
        "",
        "a",
        "a.b-c_d",
        "a:",
        "a:80",
        "1.2.3.4:65535",
        "[::1]",
        "[::1]:",
        "[2001:db8::1]:80",
        "a%20b",
        ":80",
    ] {
        assert!(is_host_and_port(host.as_bytes()), "{host}");
    }
    for host in [
        "a b",
        "a/b",
        "a:b",
        "a:80:80",
        "a:65536",
        "a:+80",
        "a@b",
        "a%2",
        "a%zz",
        "[::1",
        "[::1]80",
        "[a]",
        "::1",
        "[::1%25lo]",
        "a?b",
        "a#b",
        "a\\b",
        "\"a\"",
        "a\tb",
        "ü",
    ] {
        assert!(!is_host_and_port(host.as_bytes()), "{host}");
    }
    assert!(!is_host_and_port(b"\xff"));
}

#[test]
fn paths_are_decoded_once() {
    let mut decoded = String::new();
    assert_eq!(decode_path("/a%20b%2Fc+d%2525", &mut decoded), Ok(()));
    assert_eq!(decoded, "/a b/c+d%25");
    assert_eq!(decode_path("/%c3%bc", &mut decoded), Ok(()));
    assert_eq!(decoded, "/ü");
    assert_eq!(decode_path("/plain", &mut decoded), Ok(()));
    assert_eq!(decoded, "");
    for raw in ["/%", "/%4", "/%4g", "/%g4", "/%%41", "/%+4", "/%ü"] {
        assert_eq!(decode_path(raw, &mut decoded), Err(Rejection::MalformedPercentEncoding), "{raw}");
    }
    assert_eq!(decode_path("/%ff", &mut decoded), Err(Rejection::PathNotUtf8));
    assert_eq!(decode_path("/%c3", &mut decoded), Err(Rejection::PathNotUtf8));
    assert_eq!(decode_path("/%00", &mut decoded), Err(Rejection::NulInPath));
}

#[test]
fn segments_are_decoded_strictly() {
    assert!(matches!(decode_segment("plain+"), Some(Cow::Borrowed("plain+"))));
    assert_eq!(decode_segment("a%2fb").as_deref(), Some("a/b"));
    for raw in ["%", "%1", "%xy", "%ff", "%00", "\0"] {
        assert_eq!(decode_segment(raw), None, "{raw:?}");
    }
}
