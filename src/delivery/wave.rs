//! Waves: published events are offered to every subscriber of a topic, over several turns if there are many.
//!
//! A wave makes room in the log, marks its end, and walks the dense list of subscribers. A stream that does
//! not pin the log and reads no other gets everything from its cursor to the end of the log in one `send`.
//! That range is found once for all streams with the same cursor. Other streams are left to
//! [`serve`](super::serve). When no stream pins a log and no wave is due, the log frees all its memory,
//! except for the history.
//!
//! - **The end is taken at the time of the visit.** A stream that is visited late in a long wave gets events
//!   that were published in the meantime in the same `send`. Under overload the bursts grow and the cost of
//!   an event falls.
//! - **Subscribers are kept in the order of their slots.** As streams come and go the list gets out of order,
//!   and then each visit waits for memory. A sample is taken before a wave, and a list that is far out of
//!   order is sorted (`put_in_order`).
//! - **Making room only drops events that were offered, and read or refused.** A burst larger than
//!   `lag_bytes_max` reaches every stream that reads it. `Topic::excess` plans what the log drops: everything
//!   without a key up to one frame, superseded frames up to another. `pass_over` counts the loss for each
//!   stream that needed some of it, or closes the stream. `Topic::forget` carries it out. So a gap is a
//!   number in the stream, sent when the stream is next served, and gaps merge by themselves. It is one count
//!   for all topics, because the gap event names no topic.
//! - **The inbox rests** while streams that would be closed still read what they were offered. It does not
//!   rest for streams that skip: one slow reader would slow down all others for ever. Events of handlers are
//!   not held back.

use crate::delivery::batch::{Advance, Batch};
use crate::delivery::delivery::{Delivery, Streams, Written, tick_of};
use crate::delivery::stream::Flags;
use crate::delivery::walk::unwrap_run;
use crate::gzip::{Addition, Sum};
use crate::topic::busy::{Busy, TIME_TO_READ};
use crate::topic::chain::{Chains, Piece, sum_of};
use crate::topic::frame::Framing;
use crate::topic::history::Overflow;
use crate::topic::log::Place;
use crate::topic::topic::{Excess, Topic};
use crate::topic::topics::TopicKey;
use std::collections::HashMap;

/// The run that the last stream was given. The next stream usually needs the same.
struct Shared<'a> {
    /// A stream with a cursor from `from` on and before `to` needs this run.
    from: u64,
    to: u64,
    chunked: Batch<'a>,
    /// The result for a stream that takes all of it.
    finished: Advance<'a>,
    /// Whether `Delivery::unwrapped` holds the same run without chunk lines.
    unwrapped: bool,
    place: Place,
}

/// The part of a topic's chain for compressed streams with one cursor. The next stream usually needs the
/// same.
struct InChain<'a> {
    /// The cursor of such a stream, and whether it continues.
    behind: (u64, bool),
    batch: Batch<'a>,
    finished: Advance<'a>,
    addition: Addition,
}

/// The shared run in one piece, for compressed streams that do not read the chain.
struct Alone {
    bytes: Vec<u8>,
    piece: [Piece; 1],
    addition: Addition,
}

impl Alone {
    fn new(bytes: Vec<u8>, first: u64, run: &Advance<'_>, sum: Sum) -> Self {
        let Advance { sequence, events, .. } = *run;
        let piece = Piece { first, sequence, end: bytes.len(), events, sum, begins: true };
        Self { bytes, piece: [piece], addition: Addition::of(sum) }
    }
}

/// The result of one step of a wave.
#[derive(Debug)]
pub(crate) struct Offered<E> {
    /// How many subscribers were visited.
    pub(crate) visited: usize,
    /// Streams whose sockets have failed.
    pub(crate) failed: Vec<(u32, E)>,
    /// Streams that must be [served](Delivery::give) one by one.
    pub(crate) aside: Vec<u32>,
}

/// The most subscribers that are sorted in one turn, which takes some 30 ms.
const ORDERED_AT_ONCE: usize = 1 << 20;

/// Fewer subscribers are near each other in memory in any order.
const SCATTERED_MIN: usize = 1 << 10;

/// Whether more than an eighth of the slots are followed by a lower one, as far as a sample shows.
fn is_scattered(slots: &[u32]) -> bool {
    const SAMPLE: usize = 64;
    let step = slots.len() / SAMPLE;
    let pairs = || (0..SAMPLE).map(|number| &slots[number * step..]).filter(|pair| pair[0] > pair[1]);
    slots.len() >= SCATTERED_MIN && pairs().count() > SAMPLE / 8
}

impl<S: Streams> Delivery<S> {
    /// Begins a wave of a topic, if none is in progress. First the log drops what lags too far.
    pub(crate) fn begin_wave(&mut self, key: TopicKey) {
        if !self.topics.get(key).has_wave() {
            self.make_room(key);
            self.put_in_order(key);
            // Streams that lag may need the memory of an encoder.
            let chains = if self.is_short_of_memory() { Chains::default() } else { self.compressor.chains() };
            self.topics.begin_wave(key, chains);
        }
    }

    /// Sorts the subscribers of a topic by slot if many are out of order, as they are after much coming and
    /// going: then each visit waits for memory. A list that is too long for one turn is sorted in parts.
    fn put_in_order(&mut self, key: TopicKey) {
        let all = &mut self.topics.get_mut(key).subscribers;
        let mut parts = all.chunks_mut(ORDERED_AT_ONCE).enumerate();
        let Some((part, slots)) = parts.find(|(_, slots)| is_scattered(slots)) else { return };
        slots.sort_unstable();
        let first = part * ORDERED_AT_ONCE;
        for (place, &slot) in (first..).zip(slots.iter()) {
            if let Some((stream, _)) = self.slots.stream_and_room(slot) {
                stream.moved(key, u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
    }

    /// Drops from the log of a topic what exceeds the bytes that it may hold for streams that lag. A stream
    /// lags while it waits for its socket, not while it waits to be served. A stream that keeps reading has
    /// some time for what it was offered. If it would be closed, publishers wait for it.
    pub(super) fn make_room(&mut self, key: TopicKey) {
        let (now, lag_bytes_max) = (self.topics.tick(), self.may_lag);
        let topic = self.topics.get_mut(key);
        let read = topic.read_by_now(now);
        let Some(Excess { until, .. }) = topic.excess(lag_bytes_max, u64::MAX, u64::MAX) else { return };
        let topic = self.topics.get(key);
        let (mut can, mut reads_on) = (u64::MAX, false);
        if topic.pins > 0 {
            for &slot in topic.subscribers.iter() {
                let Some(stream) = self.slots.stream(slot).filter(|stream| stream.pins) else { continue };
                let position = stream.position_in(key);
                // A held stream waits for its application, which counts as well.
                if self.slots.has_room(slot) && !stream.is_held() {
                    can = can.min(position);
                } else if position < until {
                    reads_on |= u64::from(tick_of(now).wrapping_sub(stream.since)) < TIME_TO_READ;
                }
            }
        }
        // A faster flow than that is not held for any stream.
        reads_on &= !self.is_short_of_memory();
        reads_on &= topic.excess(self.burst_bytes_max(), u64::MAX, u64::MAX).is_none();
        if reads_on && until > read && topic.overflow == Overflow::Disconnect {
            self.crowded = Some((key, now + TIME_TO_READ));
        }
        if let Some(excess) = topic.excess(lag_bytes_max, can, if reads_on { read } else { u64::MAX }) {
            self.pass_over(key, excess.until);
            self.topics.forget(key, excess);
        }
    }

    /// Called before the log of a topic drops frames without a key up to the frame `until`. Streams that
    /// still need some of them are closed, or note how many they miss.
    fn pass_over(&mut self, key: TopicKey, until: u64) {
        let topic = self.topics.get(key);
        if topic.pins == 0 {
            return;
        }
        // The spans that each of them still needs: all are counted in one walk.
        let mut spans: Vec<(u64, u32, bool)> = Vec::new();
        for &slot in topic.subscribers.iter() {
            let Some(stream) = self.slots.stream(slot).filter(|stream| stream.pins) else { continue };
            // Frames after the end of a stream are not for it.
            let until = until.min(stream.end().unwrap_or(u64::MAX));
            let position = stream.position_in(key);
            if position < until {
                spans.extend([(position, slot, false), (until, slot, true)]);
            }
        }
        self.looked_at += topic.subscribers.len() as u64;
        spans.sort_unstable();
        let counts: Vec<_> = topic.log().count_plain_at(spans.iter().map(|(place, ..)| *place)).collect();
        let before: HashMap<u32, usize> = spans
            .iter()
            .zip(&counts)
            .filter(|((_, _, is_end), _)| !is_end)
            .map(|((_, slot, _), count)| (*slot, *count))
            .collect();
        for ((_, slot, _), count) in spans.iter().zip(counts).filter(|((_, _, is_end), _)| *is_end) {
            let missed = (count - before[slot]) as u64;
            let Some((stream, _)) = self.slots.stream_and_room(*slot).filter(|_| missed > 0) else {
                continue;
            };
            match topic.overflow {
                Overflow::Disconnect => self.lagged.push(*slot),
                Overflow::Skip => {
                    // The log may still hold them, as superseded.
                    stream.flags.set(Flags::CONFLATES, true);
                    stream.make_extras(&mut self.spare_extras).missed += missed;
                }
            }
        }
    }

    /// Until when publishers should wait, if some log holds too much for streams that have not had the time
    /// to read it.
    pub(crate) fn crowded_until(&mut self) -> Option<u64> {
        let (key, until) = self.crowded?;
        let lag_bytes_max = self.may_lag;
        let still = self
            .topics
            .try_get(key)
            .is_some_and(|topic| topic.pins > 0 && topic.excess(lag_bytes_max, u64::MAX, u64::MAX).is_some());
        self.crowded = self.crowded.filter(|_| still && until > self.topics.tick());
        self.crowded.map(|(_, until)| until)
    }

    /// Continues the wave of a topic: offers its events to the next `count` subscribers.
    ///
    /// This is the hot path. Nearly all streams are at the end of the log and get the same contiguous bytes
    /// in one write. Others are left aside.
    #[inline(always)]
    pub(crate) fn offer<E>(
        &mut self,
        key: TopicKey,
        count: usize,
        now: u32,
        mut write: impl FnMut(u32, &[u8]) -> Result<Written, E>,
    ) -> Offered<E> {
        let mut aside = std::mem::take(&mut self.aside);
        let Topic { subscribers, busy: Some(busy), compresses, .. } = self.topics.get_mut(key) else {
            return Offered { visited: 0, failed: Vec::new(), aside };
        };
        let start = busy.wave.unwrap_or(0);
        let end = start.saturating_add(count).min(subscribers.len());
        busy.wave = Some(end);
        let (compresses, conflates) = (*compresses, busy.conflates());
        let Busy { log, chain, .. } = &mut **busy;
        if let Some(chain) = chain {
            self.compressor.count_compressed(chain.catch_up(log));
        }
        let (log, chain) = (&*log, chain.as_deref());

        let mut failed = Vec::new();
        let mut shared: Option<Shared<'_>> = None;
        let (mut in_chain, mut alone): (Option<InChain<'_>>, Option<Alone>) = (None, None);
        let (mut pins, mut compressed, mut wanted) = (0, 0, false);
        for &slot in subscribers.get(start..end).unwrap_or_default() {
            let Some((stream, room)) = self.slots.stream_and_room(slot) else { continue };
            if stream.pins || conflates || !stream.reads_one_log() {
                if conflates {
                    stream.flags.set(Flags::CONFLATES, true);
                }
                aside.push(slot);
                continue;
            }
            let sequence = stream.sequence();
            if shared.as_ref().is_none_or(|shared| !(shared.from..shared.to).contains(&sequence)) {
                let Some(place) = log.place(sequence) else { continue };
                let run = log.run(place);
                let (from, to) = (log.before(place), run.first().sequence);
                let chunked = Batch::of_run(run);
                let finished = chunked.advance(sequence, chunked.bytes.len());
                shared = Some(Shared { from, to, chunked, finished, unwrapped: false, place });
                alone = None;
            }
            let Some(shared) = &mut shared else { continue };
            let mut finished = shared.finished;
            // How it changes the checksum of a compressed stream, and the topic of its chain.
            let mut packed = None;
            let batch = match stream.framing {
                Framing::Chunked => shared.chunked,
                // Events that are never compressed are stored for each stream.
                Framing::Gzip if !compresses => {
                    aside.push(slot);
                    continue;
                }
                Framing::Gzip => {
                    compressed += 1;
                    let behind = (sequence, stream.flags.has(Flags::CHAINED));
                    if in_chain.as_ref().is_none_or(|found| found.behind != behind) {
                        let found = chain.and_then(|chain| chain.behind(behind.0, behind.1));
                        in_chain = found.map(|(pieces, bytes, base)| {
                            let batch = Batch::of_pieces(bytes, 0, pieces, base);
                            let finished = batch.advance(sequence, bytes.len());
                            InChain { behind, batch, finished, addition: Addition::of(sum_of(pieces)) }
                        });
                    }
                    if let Some(found) = &in_chain {
                        (finished, packed) = (found.finished, Some((&found.addition, key)));
                        found.batch
                    } else {
                        wanted = true;
                        let alone = alone.get_or_insert_with(|| {
                            unwrap_run(log.run(shared.place), &mut self.unwrapped);
                            shared.unwrapped = true;
                            let (bytes, sum) = self.compressor.alone(&self.unwrapped.bytes);
                            Alone::new(bytes.to_vec(), shared.to, &shared.finished, sum)
                        });
                        packed = Some((&alone.addition, TopicKey::NONE));
                        Batch::of_pieces(&alone.bytes, 0, &alone.piece, 0)
                    }
                }
                Framing::CloseDelimited => {
                    if !shared.unwrapped {
                        unwrap_run(log.run(shared.place), &mut self.unwrapped);
                        shared.unwrapped = true;
                    }
                    Batch::of_copy(&self.unwrapped, 0)
                }
            };
            match write(slot, batch.bytes) {
                Ok(written) => {
                    let advance = if written.all { finished } else { batch.advance(sequence, written.bytes) };
                    stream.skip_to(advance.sequence);
                    stream.took(written.bytes, written.all, now);
                    self.delivered.events += advance.events;
                    self.delivered.bytes += written.bytes as u64;
                    *room = written.all;
                    let mut of_chain = TopicKey::NONE;
                    if let Some((addition, chain)) = packed
                        && let Some(sum) = self.compressor.sum_mut(slot)
                    {
                        of_chain = chain;
                        if written.all {
                            addition.add_to(sum);
                        } else {
                            *sum = sum.then(sum_of(batch.pieces_until(advance.sequence)));
                        }
                        if advance.sequence > sequence {
                            stream.flags.set(Flags::CHAINED, chain != TopicKey::NONE);
                        }
                    }
                    if !written.all {
                        if let Some(cut) = advance.cut {
                            let cut = self.large_frames.rest(cut, stream.framing, of_chain, &self.account);
                            stream.make_extras(&mut self.spare_extras).hand = cut;
                        }
                        stream.pins = true;
                        pins += 1;
                    } else if advance.sequence < log.newest() {
                        aside.push(slot);
                    }
                }
                Err(error) => failed.push((slot, error)),
            }
        }
        let topic = self.topics.get_mut(key);
        topic.pins += pins;
        if let Some(busy) = topic.busy.as_mut().filter(|_| compressed > 0) {
            busy.compressed += compressed;
            if let Some(chain) = busy.chain.as_mut().filter(|_| wanted) {
                chain.want();
            }
        }
        self.pinning += u64::from(pins);
        Offered { visited: end - start.min(end), failed, aside }
    }

    /// Takes back the list that [`offer`](Self::offer) has returned, to reuse its memory.
    pub(crate) fn reuse(&mut self, mut aside: Vec<u32>) {
        aside.clear();
        self.aside = aside;
    }
}
