//! Bodies: the chunked transfer coding against a dumb twin, and against the same body with its length in
//! front.

use super::talk::{App, check_any_pieces};
use super::twin::{Coded, decode_chunks};
use mio_sse::Config;

const BODY_BYTES_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 256;
/// Enough for a body, its trailers and all extensions that may be in it; more is no body that anyone accepts.
const BYTES_MAX: usize = 6 << 10;

/// The first three bytes tell how all that is sent is cut into pieces. The others are sent as they are, as a
/// chunked body, and then as what a body carries, in chunks whose size the first byte tells.
pub fn check(data: &[u8]) {
    let Some((lengths, bytes)) = data.split_first_chunk::<3>() else { return };
    let bytes = bytes.get(..BYTES_MAX).unwrap_or(bytes);
    check_coded(bytes, lengths);
    // One byte too many is as good as thousands.
    check_carried(bytes.get(..=BODY_BYTES_MAX).unwrap_or(bytes), lengths);
}

/// Any bytes at all as a chunked body.
fn check_coded(bytes: &[u8], lengths: &[u8]) {
    let talked = check_any_pieces(&post("Transfer-Encoding: chunked", bytes), lengths, &app());
    match decode_chunks(bytes, &app().config) {
        Coded::Partial => assert!(talked.seen.is_empty() && !talked.rejected, "more is to come: {talked:?}"),
        Coded::Wrong => assert!(talked.seen.is_empty() && talked.rejected, "that is no body: {talked:?}"),
        Coded::Complete(body, _) => {
            let seen = talked.seen.first().unwrap_or_else(|| panic!("a body was complete: {talked:?}"));
            assert_eq!(seen.body, body);
        }
    }
}

/// Any bytes at all as what a body carries, under both framings.
fn check_carried(bytes: &[u8], lengths: &[u8]) {
    let chunk_len = usize::from(lengths[0]) + 1;
    let mut coded = Vec::new();
    for chunk in bytes.chunks(chunk_len) {
        coded.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(&[chunk, b"\r\n"].concat());
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    let chunked = check_any_pieces(&post("Transfer-Encoding: chunked", &coded), lengths, &app());
    let length = format!("Content-Length: {}", bytes.len());
    let counted = check_any_pieces(&post(&length, bytes), lengths, &app());
    for talked in [&chunked, &counted] {
        let fits = bytes.len() <= BODY_BYTES_MAX;
        assert_eq!((talked.seen.len(), talked.rejected), (usize::from(fits), !fits));
        assert_eq!(talked.responses[0].status, if fits { 200 } else { 413 });
        assert!(talked.seen.iter().all(|seen| seen.body == bytes));
    }
    assert_eq!(chunked.responses, counted.responses);
}

fn post(header: &str, body: &[u8]) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").as_bytes(), body].concat()
}

fn app() -> App {
    let mut config = Config::default();
    config.head_bytes_max = HEAD_BYTES_MAX;
    config.target_bytes_max = 64;
    config.body_bytes_max = BODY_BYTES_MAX;
    App { config, streams: false }
}
