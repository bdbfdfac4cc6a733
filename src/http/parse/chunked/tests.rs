use super::*;
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { head_bytes_max: 64, target_bytes_max: 64, headers_max: 8, body_bytes_max: 1000 };

/// The body, how many bytes were taken, and whether the body is complete.
fn decode(bytes: impl AsRef<[u8]>) -> Result<(String, usize, bool), Rejection> {
    let (mut chunked, mut body) = (Chunked::default(), Vec::new());
    let taken = chunked.advance(bytes.as_ref(), &mut body, &LIMITS)?;
    Ok((String::from_utf8(body).unwrap(), taken, chunked.is_complete()))
}

fn complete(body: &str, taken: usize) -> Result<(String, usize, bool), Rejection> {
    Ok((body.to_owned(), taken, true))
}

#[test]
fn chunks_are_joined() {
    assert_eq!(decode("0\r\n\r\n"), complete("", 5));
    assert_eq!(decode("5\r\nhello\r\n0\r\n\r\n"), complete("hello", 15));
    assert_eq!(decode("5\r\nhello\r\n00A\r\n, world: 1\r\n000\r\n\r\nnext"), complete("hello, world: 1", 34));
    assert_eq!(decode("1\r\n\n\r\n2\r\n\r\n\r\n0\r\n\r\n"), complete("\n\r\n", 18));
    assert_eq!(decode("5\r\nhel"), Ok(("hel".into(), 6, false)));
}

#[test]
fn extensions_are_ignored() {
    assert_eq!(decode("1;a=b;c=\"d;\"\r\nx\r\n0 \t; e\r\n\r\n"), complete("x", 27));
}

#[test]
fn extensions_have_a_limit_in_total() {
    let chunks = |len: usize| format!("1;{0}\r\nx\r\n0;{0}\r\n\r\n", "e".repeat(len));
    assert_eq!(decode(chunks(2047)).unwrap().0, "x");
    assert_eq!(decode(chunks(2048)), Err(Rejection::ChunkExtensionsTooLarge));
    assert_eq!(decode(format!("1{}", " ".repeat(4097))), Err(Rejection::ChunkExtensionsTooLarge));
}

#[test]
fn malformed_framing() {
    for bytes in [
        "\r\n",
        ";",
        " 5",
        "x",
        "-5",
        "+5",
        "0x5",
        "5 \r",
        "5 5",
        "5\n",
        "5\rx",
        "5;\n",
        "5;\0",
        "5;\x7f",
        "5;\rx",
        "5,",
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\na\r\n\r\n",
        "5\r\r\n",
    ] {
        assert_eq!(decode(bytes), Err(Rejection::MalformedChunk), "{bytes:?}");
    }
}

#[test]
fn sizes_are_judged_with_their_digits() {
    assert_eq!(decode("0000000000000001\r\na"), Ok(("a".into(), 19, false)));
    assert_eq!(decode("00000000000000001"), Err(Rejection::ChunkSizeOverflow));
    assert_eq!(decode("fffffffffffffffff"), Err(Rejection::ChunkSizeOverflow));
    assert_eq!(decode("ffffffffffffffff\r"), Err(Rejection::BodyTooLarge));
    assert_eq!(decode("3e8\r").unwrap().1, 4);
    assert_eq!(decode("3e9\r"), Err(Rejection::BodyTooLarge));
    assert_eq!(decode("3e9;"), Err(Rejection::BodyTooLarge));
    assert_eq!(decode(format!("3e8\r\n{}\r\n1\r", "a".repeat(1000))), Err(Rejection::BodyTooLarge));
    assert_eq!(decode(format!("3e8\r\n{}\r\n0\r\n\r\n", "a".repeat(1000))).unwrap().1, 1012);
    assert_eq!(decode("1\r\na\r\nffffffffffffffff\r"), Err(Rejection::BodyTooLarge));
}

#[test]
fn trailers_are_checked_and_dropped() {
    assert_eq!(decode("0\r\nA: b\r\nC:\r\n\r\n"), complete("", 15));
    for trailers in
        ["A\r", ":", " A: b", "A : b", "A: b\n", "A: b\rc", "A: \0", "\n", "\rx", "A: b\r\n c", "ü:"]
    {
        assert_eq!(decode(format!("0\r\n{trailers}")), Err(Rejection::MalformedTrailer), "{trailers:?}");
    }
    let trailer = |len: usize| format!("0\r\nA:{}\r\n\r\n", "b".repeat(len - 6));
    assert!(decode(trailer(64)).unwrap().2);
    assert_eq!(decode(trailer(65)), Err(Rejection::TrailersTooLarge));
}

proptest! {
    #[test]
    fn any_chunks_carry_their_body(
        chunks in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..50), prop::sample::select(vec!["", ";a", " ;b=\"c\""])),
            0..15,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut raw, mut expected) = (Vec::new(), Vec::new());
        for (data, extension) in &chunks {
            raw.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            raw.extend_from_slice(data);
            raw.extend_from_slice(b"\r\n");
            expected.extend_from_slice(data);
        }
        raw.extend_from_slice(b"0\r\n\r\n");
        let (first, second) = raw.split_at(cut.index(raw.len()));
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        prop_assert_eq!(chunked.advance(first, &mut body, &LIMITS), Ok(first.len()));
        prop_assert!(!chunked.is_complete());
        prop_assert_eq!(chunked.advance(second, &mut body, &LIMITS), Ok(second.len()));
        prop_assert!(chunked.is_complete());
        prop_assert_eq!(body, expected);
    }
}
