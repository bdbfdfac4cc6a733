//! The gzip format (RFC 1952): pieces of deflate that streams share, and the checksum of each stream.
//!
//! A piece ends at a byte boundary, by a sync flush, so pieces of different encoders can follow each other. A
//! piece refers back only to pieces of the same encoder since its last reset.

#[cfg(feature = "gzip")]
use deflate::Deflate;
#[cfg(not(feature = "gzip"))]
use no_deflate::Deflate;

/// The header of a gzip stream: no name, no time, unknown system (RFC 1952 2.3).
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty block that is the last (RFC 1951 3.2.6).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// The memory of an encoder: a window, its hash table, and pending output.
pub(crate) const ENCODER_BYTES: usize = 330 << 10;

/// Bytes that a stored block holds at most (RFC 1951 3.2.4).
const STORED_MAX: usize = 0xffff;

/// The checksum and the length of the bytes sent, for the trailer (RFC 1952 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    crc: u32,
    len: u32,
}

impl Sum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len() & u32::MAX as usize).unwrap_or_default();
        Self { crc: Deflate::crc(bytes), len }
    }

    /// The sum of these bytes followed by those of `next`.
    pub(crate) fn then(self, next: Self) -> Self {
        let crc = Deflate::shift(self.crc, next.len) ^ next.crc;
        Self { crc, len: self.len.wrapping_add(next.len) }
    }

    /// The end of a gzip stream with this sum.
    pub(crate) fn trailer(self) -> [u8; 10] {
        let mut trailer = [0; 10];
        trailer[..2].copy_from_slice(&LAST_BLOCK);
        trailer[2..6].copy_from_slice(&self.crc.to_le_bytes());
        trailer[6..].copy_from_slice(&self.len.to_le_bytes());
        trailer
    }
}

/// Adds the same bytes to the sums of many streams, in some nanoseconds each.
///
/// Appending `n` bytes multiplies a checksum by x to the power of 8n (modulo the polynomial of RFC 1952).
/// That is linear, so the product of each bit is enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addition {
    of_bits: [u32; 32],
    sum: Sum,
}

/// The polynomial, with its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;

impl Addition {
    pub(crate) fn of(sum: Sum) -> Self {
        // The highest bit stands for 1, the one below it for x, and so on.
        let mut product = Deflate::shift(1 << 31, sum.len);
        let mut of_bits = [0; 32];
        for of_bit in of_bits.iter_mut().rev() {
            *of_bit = product;
            product = (product >> 1) ^ if product & 1 == 1 { POLYNOMIAL } else { 0 };
        }
        Self { of_bits, sum }
    }

    pub(crate) fn add_to(&self, sum: &mut Sum) {
        let of_bits = self.of_bits.iter().enumerate();
        let crc = of_bits
            .fold(self.sum.crc, |crc, (bit, of_bit)| crc ^ (of_bit & (sum.crc >> bit & 1).wrapping_neg()));
        *sum = Sum { crc, len: sum.len.wrapping_add(self.sum.len) };
    }
}

/// Compresses bytes into pieces, one after the other.
pub(crate) struct Encoder(Deflate);

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// An encoder of a level from 1 to 9. None without the feature `gzip`.
    pub(crate) fn new(level: u8) -> Option<Self> {
        Deflate::new(level).map(Self)
    }

    /// Makes the next piece refer to nothing before it.
    pub(crate) fn begin_anew(&mut self) {
        self.0.reset();
    }

    /// Adds bytes to the piece.
    pub(crate) fn add(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.0.feed(bytes, false, out);
    }

    /// Ends the piece.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        self.0.feed(&[], true, out);
    }
}

/// Appends a piece that holds `bytes` uncompressed.
pub(crate) fn store(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.chunks(STORED_MAX) {
        let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(part);
    }
}

#[cfg(feature = "gzip")]
mod deflate {
    use crc32fast::Hasher;
    use flate2::{Compress, Compression, FlushCompress};

    pub(super) struct Deflate(Compress);

    impl Deflate {
        #[expect(clippy::unnecessary_wraps, reason = "there is another without the feature")]
        pub(super) fn new(level: u8) -> Option<Self> {
            // Without a header: the pieces follow that of the stream.
            Some(Self(Compress::new(Compression::new(u32::from(level)), false)))
        }

        pub(super) fn reset(&mut self) {
            self.0.reset();
        }

        pub(super) fn feed(&mut self, mut bytes: &[u8], ends: bool, out: &mut Vec<u8>) {
            let flush = if ends { FlushCompress::Sync } else { FlushCompress::None };
            loop {
                out.reserve(bytes.len() / 2 + 64);
                let before = self.0.total_in();
                // Fails only if it is used in the wrong order.
                let made = self.0.compress_vec(bytes, out, flush);
                let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
                bytes = bytes.get(taken..).unwrap_or_default();
                // If `out` is full there may be more output.
                if made.is_err() || bytes.is_empty() && out.len() < out.capacity() {
                    return;
                }
            }
        }

        pub(super) fn crc(bytes: &[u8]) -> u32 {
            crc32fast::hash(bytes)
        }

        /// What `crc` contributes to the checksum after `len` more bytes.
        pub(super) fn shift(crc: u32, len: u32) -> u32 {
            let mut all = Hasher::new_with_initial_len(crc, 0);
            all.combine(&Hasher::new_with_initial_len(0, u64::from(len)));
            all.finalize()
        }
    }
}

#[cfg(not(feature = "gzip"))]
mod no_deflate {
    /// There is no encoder without the feature, so its methods are never called.
    pub(super) enum Deflate {}

    impl Deflate {
        pub(super) fn new(_level: u8) -> Option<Self> {
            None
        }

        pub(super) fn reset(&mut self) {
            match *self {}
        }

        pub(super) fn feed(&mut self, _bytes: &[u8], _ends: bool, _out: &mut Vec<u8>) {
            match *self {}
        }

        pub(super) fn crc(_bytes: &[u8]) -> u32 {
            0
        }

        pub(super) fn shift(crc: u32, _len: u32) -> u32 {
            crc
        }
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::*;
    use std::io::Read;

    /// Strict: the trailer has to be right, and nothing may follow it.
    fn decode(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        decoder.read_to_end(&mut out).expect("it can be decompressed");
        assert!(decoder.into_inner().is_empty());
        out
    }

    #[test]
    fn pieces_of_all_kinds_can_follow_each_other() {
        let (mut chain, mut alone) = (Encoder::new(6).unwrap(), Encoder::new(1).unwrap());
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let (mut all, mut plain, mut sum) = (HEADER.to_vec(), Vec::new(), Sum::default());
            chain.begin_anew();
            let mut in_chain = true;
            for _ in 0..random.usize(1..60) {
                let size = if random.u8(..10) == 0 { 100_000 } else { random.usize(..400) };
                let event = [
                    format!("data: {round}, again and again, ").repeat(size / 20 + 1).as_bytes(),
                    &vec![random.u8(..); size],
                ]
                .concat();
                if in_chain {
                    chain.add(&event[..size / 2], &mut all);
                    chain.add(&event[size / 2..], &mut all);
                    chain.end(&mut all);
                } else if random.bool() {
                    store(&event, &mut all);
                } else {
                    alone.begin_anew();
                    alone.add(&event, &mut all);
                    alone.end(&mut all);
                }
                all.extend([0, 0, 0, 0xff, 0xff]); // an empty block
                plain.extend(&event);
                sum = sum.then(Sum::of(&event));
                match random.u8(..8) {
                    0 => in_chain = false,
                    1 => {
                        chain.begin_anew();
                        in_chain = true;
                    }
                    _ => {}
                }
            }
            assert_eq!(sum, Sum::of(&plain));
            all.extend(sum.trailer());
            assert!(decode(&all) == plain, "round {round}");
        }
    }

    #[test]
    fn an_addition_adds_to_each_sum() {
        let mut random = fastrand::Rng::with_seed(8);
        for size in [0, 1, 2, 3, 200, 65_536, 1 << 20] {
            let sum = Sum::of(&vec![random.u8(..); size]);
            let addition = Addition::of(sum);
            for _ in 0..50 {
                let before = Sum { crc: random.u32(..), len: random.u32(..) };
                let mut after = before;
                addition.add_to(&mut after);
                assert_eq!(after, before.then(sum), "{size}");
            }
        }
    }
}
