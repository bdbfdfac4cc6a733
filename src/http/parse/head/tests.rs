use super::*;

const LIMITS: Limits =
    Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 128, body_bytes_max: 1000 };

fn parse(head: impl AsRef<[u8]>) -> Result<Head, Rejection> {
    let mut parsed = Head::default();
    parsed.parse(head.as_ref(), &LIMITS).map(|()| parsed)
}

/// A request with these header lines, which must not end with a line end.
fn with(lines: &str) -> Result<Head, Rejection> {
    parse(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
}

fn rejection(lines: &str) -> Rejection {
    with(lines).unwrap_err()
}

#[test]
fn parts_are_found_where_they_are() {
    let bytes = b"GET /a%20b?c HTTP/1.1\r\nHost: a:1\r\nX-Empty:\r\nx-y: \t z z \t\r\n\r\n";
    let head = parse(bytes).unwrap();
    assert_eq!(head.method.bytes(bytes), b"GET");
    assert_eq!(head.target.text(bytes), "/a%20b?c");
    assert_eq!(head.decoded_path, "/a b");
    let headers: Vec<_> =
        head.headers.iter().map(|header| (header.name.text(bytes), header.value.text(bytes))).collect();
    assert_eq!(headers, [("Host", "a:1"), ("X-Empty", ""), ("x-y", "z z")]);
}

#[test]
fn a_head_is_forgotten_before_the_next() {
    let mut head = with("Content-Length: 5\r\nExpect: 100-continue").unwrap();
    assert_eq!((head.framing, head.expects_continue), (Framing::Length(5), true));
    head.parse(b"GET /%41 HTTP/1.0\r\n\r\n", &LIMITS).unwrap();
    assert_eq!((head.framing, head.expects_continue), (Framing::Length(0), false));
    assert_eq!((head.headers.len(), head.decoded_path.as_str()), (0, "/A"));
    head.parse(b"GET /b HTTP/1.0\r\n\r\n", &LIMITS).unwrap();
    assert_eq!(head.decoded_path, "");
}

#[test]
fn hosts() {
    assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MissingHost);
    assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert_eq!(rejection("host: a"), Rejection::RepeatedHost);
    assert_eq!(parse("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").unwrap_err(), Rejection::RepeatedHost);
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").unwrap_err(), Rejection::InvalidHost);
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n").unwrap_err(), Rejection::InvalidHost);
    // The target in absolute form does not replace the Host header in the head, only in its meaning.
    assert_eq!(parse("GET http://a/ HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MissingHost);
}

#[test]
fn whitespace_in_header_lines() {
    assert_eq!(rejection("Transfer-Encoding : chunked"), Rejection::WhitespaceBeforeColon);
    assert_eq!(rejection("Transfer-Encoding\t: chunked"), Rejection::WhitespaceBeforeColon);
    assert_eq!(rejection("A: b\r\n c: d"), Rejection::ObsoleteLineFolding);
    assert_eq!(rejection("A: b\r\n\tc"), Rejection::ObsoleteLineFolding);
    assert_eq!(rejection("A: b\r\n : c"), Rejection::ObsoleteLineFolding);
    assert_eq!(rejection("A: b\r\n \t "), Rejection::ObsoleteLineFolding);
    assert_eq!(parse("GET / HTTP/1.1\r\n Host: a\r\n\r\n").unwrap_err(), Rejection::ObsoleteLineFolding);
    // A value may have any visible characters, and a colon after spaces.
    assert!(with("A: b : c").is_ok());
}

#[test]
fn malformed_header_lines() {
    for line in ["A", "A b", "A b: c", ": a", "A(b): c", "ü: a", "A/b: c"] {
        assert_eq!(rejection(line), Rejection::MalformedHeader, "{line}");
    }
    assert_eq!(rejection("A: \x7f"), Rejection::InvalidHeaderValue);
    assert!(parse(b"GET / HTTP/1.0\r\nA: \xff\x80\r\n\r\n").is_ok(), "obs-text is allowed in values");
}

#[test]
fn malformed_request_lines() {
    for line in ["G(T / HTTP/1.1", "GÉT / HTTP/1.1", "GET /\x7f HTTP/1.1"] {
        assert_eq!(parse(format!("{line}\r\n\r\n")).unwrap_err(), Rejection::MalformedRequestLine, "{line}");
    }
    assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MalformedRequestLine);
}

#[test]
fn more_headers_than_there_is_room_for() {
    let head = |lines: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(lines));
    assert_eq!(parse(head(HEADERS_CEILING)).unwrap().headers.len(), HEADERS_CEILING);
    assert_eq!(parse(head(HEADERS_CEILING + 1)).unwrap_err(), Rejection::TooManyHeaders);
}

#[test]
fn content_length() {
    let framing = |lines: &str| with(lines).map(|head| head.framing);
    assert_eq!(framing("A: b"), Ok(Framing::Length(0)));
    assert_eq!(framing("Content-Length: 0"), Ok(Framing::Length(0)));
    assert_eq!(framing("content-length:\t1000 "), Ok(Framing::Length(1000)));
    assert_eq!(framing("Content-Length: 5\r\nContent-Length: 5"), Ok(Framing::Length(5)));
    assert_eq!(framing("Content-Length: 5\r\nContent-Length: 6"), Err(Rejection::DifferingContentLengths));
    assert_eq!(framing("Content-Length: 1001"), Err(Rejection::BodyTooLarge));
    assert_eq!(framing("Content-Length: 18446744073709551615"), Err(Rejection::BodyTooLarge));
    for value in
        ["5, 5", "+5", "-5", "", " ", "5 5", "0x5", "5.0", "5;", "18446744073709551616", "٥", "\"5\"", "1e1"]
    {
        let lines = format!("Content-Length: {value}");
        assert_eq!(framing(&lines), Err(Rejection::MalformedContentLength), "{value:?}");
    }
}

#[test]
fn transfer_encoding() {
    let framing = |lines: &str| with(lines).map(|head| head.framing);
    assert_eq!(framing("Transfer-Encoding: chunked"), Ok(Framing::Chunked));
    assert_eq!(framing("transfer-encoding:CHUNKED\t"), Ok(Framing::Chunked));
    for value in [",chunked", "chunked,", "chunked, ,\t"] {
        assert_eq!(framing(&format!("Transfer-Encoding: {value}")), Ok(Framing::Chunked), "{value:?}");
    }
    assert_eq!(framing("Transfer-Encoding:\r\nTransfer-Encoding: chunked"), Ok(Framing::Chunked));
    for value in [
        "",
        ",",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked\r\nTransfer-Encoding: gzip",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunked x",
    ] {
        let lines = format!("Transfer-Encoding: {value}");
        assert_eq!(framing(&lines), Err(Rejection::TransferEncodingNotChunked), "{value:?}");
    }
    assert_eq!(framing("Transfer-Encoding: gzip, chunked"), Err(Rejection::UnsupportedTransferEncoding));
    assert_eq!(
        framing("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        Err(Rejection::UnsupportedTransferEncoding)
    );
    assert_eq!(framing("Transfer-Encoding: chunked, chunked"), Err(Rejection::RepeatedChunked));
    assert_eq!(
        framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        Err(Rejection::RepeatedChunked)
    );
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip\r\nContent-Length: 0",
        "Transfer-Encoding:\r\nContent-Length: 0",
    ] {
        assert_eq!(framing(lines), Err(Rejection::ContentLengthWithTransferEncoding), "{lines:?}");
    }
    assert_eq!(
        parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(),
        Rejection::TransferEncodingInHttp10
    );
}

#[test]
fn keep_alive() {
    let keep_alive = |version: &str, lines: &str| {
        parse(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).unwrap().keep_alive
    };
    assert!(keep_alive("1.1", ""));
    assert!(keep_alive("1.1", "Connection: upgrade\r\n"));
    assert!(!keep_alive("1.1", "Connection: close\r\n"));
    assert!(!keep_alive("1.1", "Connection: a,\tCLOSE ,b\r\n"));
    assert!(!keep_alive("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
    assert!(keep_alive("1.1", "Connection: closed\r\n"));
    // Later versions of HTTP/1 are compatible with 1.1.
    assert!(keep_alive("1.2", "") && keep_alive("1.9", "Connection: ,keep-alive\r\n"));
    assert!(!keep_alive("1.2", "Connection: close\r\n"));
    assert!(!keep_alive("1.0", ""));
    assert!(keep_alive("1.0", "connection: Keep-Alive\r\n"));
    assert!(!keep_alive("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn expectations() {
    let expects = |lines: &str| with(lines).map(|head| head.expects_continue);
    assert_eq!(expects("Content-Length: 5"), Ok(false));
    assert_eq!(expects("Content-Length: 5\r\nExpect: 100-Continue"), Ok(true));
    assert_eq!(expects("Transfer-Encoding: chunked\r\nExpect: 100-continue"), Ok(true));
    assert_eq!(expects("Expect: 100-continue"), Ok(false));
    assert_eq!(expects("Content-Length: 0\r\nExpect: 100-continue"), Ok(false));
    for value in ["", "tea", "100-continue, tea", "100-continue=1"] {
        assert_eq!(expects(&format!("Expect: {value}")), Err(Rejection::UnsupportedExpectation), "{value}");
    }
    let http_10 =
        |expect: &str| parse(format!("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: {expect}\r\n\r\n"));
    assert!(!http_10("100-continue").unwrap().expects_continue);
    assert!(!http_10("tea").unwrap().expects_continue);
    // A body that is too large is refused before the client is asked to send it.
    assert_eq!(expects("Content-Length: 1001\r\nExpect: 100-continue"), Err(Rejection::BodyTooLarge));
}
