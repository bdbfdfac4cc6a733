//! The load harness checks every stream with a decoder of its own. This tests the decoder.

#[allow(dead_code, reason = "the harness uses the rest")]
#[path = "../../benches/streams/decoder.rs"]
mod decoder;
#[allow(dead_code, reason = "the harness uses the rest")]
#[path = "../../benches/streams/payload.rs"]
mod payload;

use decoder::{Decoder, Fault};
use payload::{Lines, data};
use proptest::prelude::*;

/// A stream of numbered events, with everything that a decoder has to skip.
fn body(numbers: &[u32]) -> Vec<u8> {
    let mut body = b":\nretry: 3000\n".to_vec();
    for &number in numbers {
        body.extend_from_slice(format!("id: 17-{number}\nevent: x\ndata: ").as_bytes());
        body.extend_from_slice(&data(number));
        body.extend_from_slice(b"\n\n: beat\n\nid: 18\n\n");
    }
    body
}

/// A response with that body in chunks of these sizes, used in turn.
fn wire(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in pieces(body, sizes) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

fn pieces<'a>(mut rest: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = *sizes.next()?;
        let (piece, more) = rest.split_at(size.min(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

fn decode(wire: &[u8], lines: &Lines, cuts: &[usize]) -> Result<Decoder, Fault> {
    let mut decoder = Decoder::new(1);
    for piece in pieces(wire, cuts) {
        decoder.decode(piece, lines)?;
    }
    Ok(decoder)
}

proptest! {
    #[test]
    fn any_chunks_in_any_pieces_are_the_same_events(
        sizes in proptest::collection::vec(1_usize..100, 1..20),
        cuts in proptest::collection::vec(1_usize..100, 1..20),
    ) {
        let wire = wire(&body(&[1, 2, 3, 4]), &sizes);
        for lines in [Lines::new(1, 4), Lines::default()] {
            let decoder = decode(&wire, &lines, &cuts).unwrap();
            prop_assert_eq!(decoder.next(), 5);
            prop_assert!(decoder.opened());
        }
    }
}

#[test]
fn holes_duplicates_and_damage_are_noticed() {
    for lines in [Lines::new(1, 9), Lines::default()] {
        let faults = [
            (&[1, 3][..], Fault::Order { next: 2, came: 3 }),
            (&[1, 1], Fault::Order { next: 2, came: 1 }),
            (&[2], Fault::Order { next: 1, came: 2 }),
        ];
        for (numbers, fault) in faults {
            for cut in [1, 7, 1000] {
                assert_eq!(decode(&wire(&body(numbers), &[50]), &lines, &[cut]).unwrap_err(), fault);
            }
        }
        let mut damaged = wire(&body(&[1]), &[10_000]);
        let at = damaged.iter().rposition(|&byte| byte == b'x').unwrap();
        damaged[at] = b'y';
        assert_eq!(decode(&damaged, &lines, &[1000]).unwrap_err(), Fault::Data { next: 1 });
    }
}

#[test]
fn a_response_that_is_not_a_stream_is_an_error() {
    let refused = [
        (&b"HTTP/1.1 503 "[..], Fault::Status),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n:\n", Fault::ChunkSize(b':')),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nx", Fault::Ended),
    ];
    for (bytes, fault) in refused {
        assert_eq!(decode(bytes, &Lines::default(), &[9]).unwrap_err(), fault);
    }
}

#[test]
fn a_body_without_chunks_is_read_as_well() {
    let mut wire = b"HTTP/1.1 200 OK\r\n\r\n:\n".to_vec();
    wire.extend(body(&[1, 2, 3]));
    for cut in [1, 7, 1000] {
        for lines in [Lines::new(1, 9), Lines::default()] {
            assert_eq!(decode(&wire, &lines, &[cut]).unwrap().next(), 4);
        }
    }
}
