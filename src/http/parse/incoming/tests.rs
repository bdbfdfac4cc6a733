use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMITS: Limits =
    Limits { head_bytes_max: 512, target_bytes_max: 64, headers_max: 8, body_bytes_max: 100 };
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The result for some bytes, in a form that outlives them.
#[derive(Debug, PartialEq)]
enum Outcome {
    Partial,
    Rejected(Rejection),
    Complete(Seen),
}

/// Everything that a handler and the server can see of a request.
#[derive(Debug, PartialEq)]
struct Seen {
    method: String,
    target: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    http_10: bool,
    keep_alive: bool,
    /// Counted from the first byte that arrived.
    consumed: usize,
}

/// Feeds the pieces to `incoming` as a connection does. `retains` says whether it drops bytes that are not
/// needed.
fn feed<'a>(incoming: &mut Incoming, pieces: impl IntoIterator<Item = &'a [u8]>, retains: bool) -> Outcome {
    let mut held = Vec::new();
    let mut dropped = 0;
    let mut continues = 0;
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match incoming.advance(&held, &LIMITS) {
                Err(rejection) => {
                    assert!(!incoming.keep_alive() && !incoming.is_fresh());
                    return Outcome::Rejected(rejection);
                }
                Ok(Progress::Complete { consumed }) => {
                    let request = incoming.request(&held);
                    return Outcome::Complete(Seen {
                        method: request.method().to_owned(),
                        target: request.target().to_owned(),
                        path: request.path().to_owned(),
                        query: request.query_string().map(str::to_owned),
                        headers: request
                            .headers()
                            .map(|(name, value)| (name.to_owned(), value.to_owned()))
                            .collect(),
                        body: request.body().to_owned(),
                        http_10: request.is_http_10(),
                        keep_alive: incoming.keep_alive(),
                        consumed: dropped + consumed,
                    });
                }
                Ok(Progress::Continue) => {
                    continues += 1;
                    assert_eq!(continues, 1, "100 Continue is sent once");
                }
                Ok(Progress::Partial) => break,
            }
        }
        assert!(!incoming.keep_alive());
        if retains {
            let before = held.len();
            incoming.retain(&mut held);
            dropped += before - held.len();
        }
    }
    Outcome::Partial
}

fn whole(bytes: impl AsRef<[u8]>) -> Outcome {
    feed(&mut Incoming::default(), [bytes.as_ref()], false)
}

fn complete(bytes: impl AsRef<[u8]>) -> Seen {
    match whole(bytes) {
        Outcome::Complete(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_may_be_pipelined() {
    let first = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let second = "GET /2 HTTP/1.0\r\n\r\n";
    let mut data = format!("{first}{CHUNKED}0\r\n\r\n{second}").into_bytes();
    let mut incoming = Incoming::default();
    let mut targets = Vec::new();
    while !data.is_empty() {
        let Ok(Progress::Complete { consumed }) = incoming.advance(&data, &LIMITS) else { panic!() };
        assert_eq!(
            incoming.advance(&data, &LIMITS),
            Ok(Progress::Complete { consumed }),
            "asking twice is fine"
        );
        targets.push((incoming.request(&data).target().to_owned(), incoming.keep_alive()));
        data.drain(..consumed);
        incoming.reset();
        assert!(incoming.is_fresh() && !incoming.keep_alive());
    }
    assert_eq!(targets, [("/1".into(), true), ("/".into(), true), ("/2".into(), false)]);
}

#[test]
fn empty_lines_in_front_are_skipped_and_not_held() {
    let mut incoming = Incoming::default();
    let mut held = Vec::new();
    for byte in *b"\r\n\r\n" {
        held.push(byte);
        assert_eq!(incoming.advance(&held, &LIMITS), Ok(Progress::Partial));
        incoming.retain(&mut held);
        assert!(held.is_empty());
    }
    held.push(b'G');
    assert_eq!(incoming.advance(&held, &LIMITS), Ok(Progress::Partial));
    assert!(!incoming.is_fresh());

    let seen = complete("\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    assert_eq!((seen.method.as_str(), seen.consumed), ("GET", 22));
    let lines = |count| format!("{}GET / HTTP/1.0\r\n\r\n", "\r\n".repeat(count));
    assert_eq!(complete(lines(EMPTY_LINES_MAX)).method, "GET");
    assert_eq!(whole(lines(EMPTY_LINES_MAX + 1)), Outcome::Rejected(Rejection::TooManyEmptyLines));
    assert_eq!(whole("\n"), Outcome::Rejected(Rejection::BareLineFeed));
    assert_eq!(whole("\rG"), Outcome::Rejected(Rejection::BareCarriageReturn));
    assert_eq!(whole("\r\r\n"), Outcome::Rejected(Rejection::BareCarriageReturn));
}

#[test]
fn an_announced_body_is_asked_for_once() {
    let advance = |incoming: &mut Incoming, data: &str| incoming.advance(data.as_bytes(), &LIMITS);
    for (framing, body) in
        [("Content-Length: 2", "hi"), ("Transfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n")]
    {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n");
        let all = format!("{head}{body}");
        let mut incoming = Incoming::default();
        assert_eq!(advance(&mut incoming, head.get(..head.len() - 1).unwrap()), Ok(Progress::Partial));
        assert_eq!(advance(&mut incoming, &head), Ok(Progress::Continue));
        assert_eq!(advance(&mut incoming, &head), Ok(Progress::Partial));
        assert_eq!(advance(&mut incoming, &all), Ok(Progress::Complete { consumed: all.len() }));
        // `100 Continue` is only for clients that wait for it.
        incoming.reset();
        assert_eq!(advance(&mut incoming, &all), Ok(Progress::Complete { consumed: all.len() }));
    }
    // A request that is refused gets no `100 Continue`.
    let large = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n";
    assert_eq!(whole(large), Outcome::Rejected(Rejection::BodyTooLarge));
}

#[test]
fn a_chunked_body_of_small_chunks_is_not_held_twice() {
    let mut incoming = Incoming::default();
    let mut held = CHUNKED.as_bytes().to_vec();
    for _ in 0..LIMITS.body_bytes_max {
        held.extend_from_slice(b"1\r\nx\r\n");
        assert_eq!(incoming.advance(&held, &LIMITS), Ok(Progress::Partial));
        incoming.retain(&mut held);
        assert_eq!(held.len(), CHUNKED.len());
    }
    held.extend_from_slice(b"0\r\n\r\nnext");
    assert_eq!(incoming.advance(&held, &LIMITS), Ok(Progress::Complete { consumed: held.len() - 4 }));
    assert_eq!(incoming.request(&held).body().len(), LIMITS.body_bytes_max);
}

#[test]
fn scanned_bytes_are_not_scanned_again() {
    let limits = Limits { head_bytes_max: 16 * 1024, ..LIMITS };
    let head_len = limits.head_bytes_max;
    let start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nA: ";
    let head = format!("{start}{}\r\n\r\n", "a".repeat(head_len - start.len() - 4));
    let mut incoming = Incoming::default();
    // Scanned bytes are replaced by one that no head may contain: looking at it again would be an error.
    let mut data = Vec::new();
    for &byte in &head.as_bytes()[..head_len - 1] {
        data.push(byte);
        assert_eq!(incoming.advance(&data, &limits), Ok(Progress::Partial));
        assert_eq!(incoming.scan.scanned(), data.len());
        data.fill(0);
    }
    // The head is parsed once, when it is complete.
    data.clear();
    data.extend_from_slice(head.as_bytes());
    assert_eq!(incoming.advance(&data, &limits), Ok(Progress::Partial));
    for &byte in b"3\r\nabc\r\n0\r\nA: b\r\n\r" {
        data.push(byte);
        assert_eq!(incoming.advance(&data, &limits), Ok(Progress::Partial));
        data.fill(0);
    }
    data.push(b'\n');
    assert_eq!(incoming.advance(&data, &limits), Ok(Progress::Complete { consumed: data.len() }));
    assert_eq!(incoming.body, b"abc");
}

#[test]
fn buffers_are_kept_for_the_next_request() {
    let mut incoming = Incoming::default();
    let limits = Limits { body_bytes_max: 1 << 20, ..LIMITS };
    let request = format!("{}3\r\nabc\r\n0\r\n\r\n", CHUNKED.replace(" / ", " /%41 "));
    let buffers = |incoming: &Incoming| {
        let head = &incoming.head;
        (head.headers.as_ptr(), head.decoded_path.as_ptr(), incoming.body.as_ptr())
    };
    assert!(incoming.advance(request.as_bytes(), &limits).is_ok());
    let warm = buffers(&incoming);
    incoming.reset();
    assert!(incoming.advance(request.as_bytes(), &limits).is_ok());
    assert_eq!(buffers(&incoming), warm);

    incoming.reset();
    let large = format!("{CHUNKED}80000\r\n{}", "a".repeat(0x80000));
    assert_eq!(incoming.advance(large.as_bytes(), &limits), Ok(Progress::Partial));
    incoming.reset();
    assert!(incoming.body.capacity() <= BODY_CAPACITY_KEPT, "a large body does not keep its memory");
}

#[test]
fn after_a_rejection_there_is_only_the_rejection() {
    let mut incoming = Incoming::default();
    assert_eq!(incoming.advance(b"\n", &LIMITS), Err(Rejection::BareLineFeed));
    assert!(!incoming.is_fresh() && !incoming.keep_alive());
    incoming.reset();
    assert_eq!(incoming.advance(b"G", &LIMITS), Ok(Progress::Partial));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a rejected request goes no further")]
fn going_on_after_a_rejection_is_a_bug() {
    let mut incoming = Incoming::default();
    assert!(incoming.advance(b"\n", &LIMITS).is_err());
    let _ = incoming.advance(b"\nG", &LIMITS);
}

/// Requests that are worth cutting everywhere: one for each outcome.
#[test]
fn every_cut_of_every_ending_gives_the_same() {
    let long = "a".repeat(600);
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    let cases = [
        ("\r\nGET /%41?b HTTP/1.1\r\nHost: a\r\n\r\nnext".to_owned(), None),
        (format!("{post}Content-Length: 4\r\n\r\nbodynext"), None),
        (format!("{post}Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbodynext"), None),
        (format!("{CHUNKED}2;a=b\r\nhi\r\n0\r\nA: b\r\n\r\nnext"), None),
        (format!("GET /{long}"), Some(Rejection::TargetTooLong)),
        (long.clone(), Some(Rejection::MethodTooLong)),
        (format!("GET / HTTP/1.1{long}"), Some(Rejection::MalformedRequestLine)),
        (format!("GET / HTTP/1.1\r\nA: {long}"), Some(Rejection::HeadTooLarge)),
        (format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(9)), Some(Rejection::TooManyHeaders)),
        (format!("GET / HTTP/1.1\r\nA: b\n\r{long}"), Some(Rejection::BareLineFeed)),
        (format!("GET / HTTP/1.1\r\nA: b\rc\n{long}"), Some(Rejection::BareCarriageReturn)),
        (format!("GET / HTTP/1.1\r\nA: \0\n{long}"), Some(Rejection::ControlCharacter)),
        ("GET / HTTP/2.0\r\n\n".to_owned(), Some(Rejection::UnsupportedVersion)),
        (format!("{post} \n"), Some(Rejection::BareLineFeed)),
        (format!("{post} A: b\r\n\r\n\n"), Some(Rejection::ObsoleteLineFolding)),
        (format!("{post}A : b\r\n\r\n\n"), Some(Rejection::WhitespaceBeforeColon)),
        (format!("{post}Host: a\r\n\r\n\n"), Some(Rejection::RepeatedHost)),
        (format!("{post}Content-Length: 101\r\n\r\n"), Some(Rejection::BodyTooLarge)),
        (format!("{CHUNKED}64\r\n{}\r\n1\r\n", &long[..100]), Some(Rejection::BodyTooLarge)),
        (format!("{CHUNKED}2\r\nhi\n"), Some(Rejection::MalformedChunk)),
        (format!("{CHUNKED}{}", "0".repeat(17)), Some(Rejection::ChunkSizeOverflow)),
        (format!("{CHUNKED}0;{}", "e".repeat(5000)), Some(Rejection::ChunkExtensionsTooLarge)),
        (format!("{CHUNKED}0\r\nA: {long}\0"), Some(Rejection::TrailersTooLarge)),
        (format!("{CHUNKED}0\r\n A: {long}\0"), Some(Rejection::MalformedTrailer)),
    ];
    for (bytes, rejection) in &cases {
        let expected = whole(bytes);
        match (rejection, &expected) {
            (Some(rejection), Outcome::Rejected(found)) => assert_eq!(found, rejection, "{bytes:?}"),
            (None, Outcome::Complete(_)) => {}
            other => panic!("{bytes:?}: {other:?}"),
        }
        // The long tails are cut only where it matters.
        for cut in 0..=bytes.len().min(700) {
            let (first, second) = bytes.as_bytes().split_at(cut);
            for retains in [false, true] {
                assert_eq!(
                    feed(&mut Incoming::default(), [first, second], retains),
                    expected,
                    "{bytes:?} at {cut}"
                );
            }
        }
        let single_bytes = bytes.as_bytes().chunks(1);
        assert_eq!(feed(&mut Incoming::default(), single_bytes, true), expected, "{bytes:?} byte by byte");
    }
}

/// A well-formed request, and the expected result.
fn well_formed() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    (
        0..3_usize,
        prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "x-own"]),
        "/[a-z/]{0,12}",
        prop::option::of("[a-z=&?%/+]{0,12}"),
        any::<bool>(),
        prop::collection::vec(("X-[A-Za-z0-9!#$_|~-]{1,8}", "([!-~é]([ -~\t]{0,12}[!-~])?)?"), 0..4),
        prop::option::of(any::<bool>()),
        prop::collection::vec(any::<u8>(), 0..60),
        0..4_u8,
        prop::collection::vec(any::<u8>(), 0..10),
    )
        .prop_map(
            |(empty_lines, method, path, query, http_10, own, connection, body, framing, behind)| {
                let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
                let mut headers = vec![("Host".to_owned(), b"a:80".to_vec())];
                headers.extend(own.into_iter().map(|(name, value)| (name, value.into_bytes())));
                if let Some(keep_alive) = connection {
                    let value: &[u8] = if keep_alive { b"x, keep-alive" } else { b"Close" };
                    headers.push(("connection".to_owned(), value.to_vec()));
                }
                let (body, raw_body) = match framing {
                    1 => {
                        headers.push(("Content-Length".to_owned(), body.len().to_string().into_bytes()));
                        (body.clone(), body)
                    }
                    2 | 3 if !http_10 => {
                        headers.push(("Transfer-Encoding".to_owned(), b"Chunked".to_vec()));
                        if framing == 3 {
                            headers.push(("Expect".to_owned(), b"100-continue".to_vec()));
                        }
                        let mut raw = Vec::new();
                        for chunk in body.chunks(7) {
                            raw.extend_from_slice(format!("{:X};e\r\n", chunk.len()).as_bytes());
                            raw.extend_from_slice(chunk);
                            raw.extend_from_slice(b"\r\n");
                        }
                        raw.extend_from_slice(b"0\r\nT: t\r\n\r\n");
                        (body, raw)
                    }
                    _ => (Vec::new(), Vec::new()),
                };
                let mut bytes = "\r\n".repeat(empty_lines).into_bytes();
                let version = if http_10 { "1.0" } else { "1.1" };
                bytes.extend_from_slice(format!("{method} {target} HTTP/{version}\r\n").as_bytes());
                for (name, value) in &headers {
                    bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b" \r\n"].concat());
                }
                bytes.extend_from_slice(b"\r\n");
                bytes.extend_from_slice(&raw_body);
                let consumed = bytes.len();
                bytes.extend_from_slice(&behind);
                let seen = Seen {
                    method: method.to_owned(),
                    target,
                    path,
                    query,
                    headers,
                    body,
                    http_10,
                    keep_alive: connection.unwrap_or(!http_10),
                    consumed,
                };
                (bytes, seen)
            },
        )
}

/// A change of a well-formed request that may make it something else.
#[derive(Debug, Clone, Copy)]
enum Mutation {
    Replace(u8),
    Insert(&'static str),
    Remove(usize),
    Repeat(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let pieces = vec![
        "\r",
        "\n",
        "\r\n",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        "%",
        "#",
        "*",
        ";",
        "0",
        "f",
        "\r\n ",
        " :",
        "\x0b",
        "é",
        "\r\nHost: b",
        "\r\nContent-Length: 5",
        "\r\nTransfer-Encoding: chunked",
        "\r\nExpect: 100-continue",
        "\r\n\r\n",
    ];
    prop_oneof![
        any::<u8>().prop_map(Mutation::Replace),
        prop::sample::select(pieces).prop_map(Mutation::Insert),
        (1..20_usize).prop_map(Mutation::Remove),
        (1..200_usize).prop_map(Mutation::Repeat),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation, at: Index) {
    let at = at.index(bytes.len() + 1);
    let end = |len: usize| (at + len).min(bytes.len());
    match mutation {
        Mutation::Replace(byte) => drop(bytes.splice(at..end(1), [byte])),
        Mutation::Insert(piece) => drop(bytes.splice(at..at, piece.bytes())),
        Mutation::Remove(len) => drop(bytes.drain(at..end(len))),
        Mutation::Repeat(len) => {
            let piece = bytes[at..end(len)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

/// The pieces between the cuts, empty ones included.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn well_formed_requests_are_seen_as_they_are(
        (bytes, seen) in well_formed(),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        retains in any::<bool>(),
    ) {
        let mut incoming = Incoming::default();
        prop_assert_eq!(feed(&mut incoming, pieces(&bytes, &cuts), retains), Outcome::Complete(seen));
    }

    #[test]
    fn cuts_do_not_matter(
        (mut bytes, _) in well_formed(),
        mutations in prop::collection::vec((mutation(), any::<Index>()), 0..4),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        retains in any::<bool>(),
    ) {
        for (mutation, at) in mutations {
            mutate(&mut bytes, mutation, at);
        }
        let expected = whole(&bytes);
        // A buffer that was used for other requests is as good as a new one.
        let mut incoming = Incoming::default();
        let earlier = b"GET /%41?b HTTP/1.0\r\nA: b\r\nContent-Length: 9\r\n\r\n";
        prop_assert_eq!(incoming.advance(earlier, &LIMITS), Ok(Progress::Partial));
        incoming.reset();
        prop_assert_eq!(&feed(&mut incoming, pieces(&bytes, &cuts), retains), &expected);
        prop_assert_eq!(&feed(&mut Incoming::default(), bytes.chunks(1), retains), &expected);
    }

    #[test]
    fn no_input_causes_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        chunked in any::<bool>(),
    ) {
        let bytes = if chunked { [CHUNKED.as_bytes(), &bytes].concat() } else { bytes };
        prop_assert_eq!(feed(&mut Incoming::default(), bytes.chunks(1), true), whole(&bytes));
    }
}
