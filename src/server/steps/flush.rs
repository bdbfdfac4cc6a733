//! Giving streams what there is for them: the fan-out to those at the end of the log, and the others one by one.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, Flags, Phase};
use crate::delivery::cursor::{Advance, Batch, FellOff, next_batch, unwrap_run};
use crate::server::api::handler::Handler;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::server::state::core::sources;
use crate::topic::frame::Framing;
use crate::topic::log::Place;
use crate::topic::topics::TopicKey;

/// Subscribers of one topic that are visited before the next topic has its turn.
const QUANTUM: usize = 256;

/// Bytes given to a stream in the queue before the others have their turn.
const BYTES_PER_VISIT: usize = 256 << 10;

/// The run that the last stream was given, for the next one, which most often needs the same.
struct Shared<'a> {
    /// A cursor from `from` on and before `to` needs this run.
    from: u64,
    to: u64,
    chunked: Batch<'a>,
    /// Where it brings a stream that takes all of it.
    finished: Advance,
    /// Whether `FlushBuffers::unwrapped` holds the same without chunk lines.
    unwrapped: bool,
    block: usize,
    frame: usize,
}

impl<H: Handler, N: Net> Server<H, N> {
    /// Step 7: serves the streams in the queue, then fans out what was published.
    pub(crate) fn flush(&mut self) {
        let budget = self.core.config.sends_per_turn;
        // Where there is both, each gets half of the turn at least.
        let queued = if self.core.topics.has_dirty() { budget.div_ceil(2) } else { budget };
        let served = self.serve_queue(queued);
        let mut left = (budget - served).max(1);
        while left > 0 {
            let Some(key) = self.core.topics.next_dirty() else { return };
            self.core.begin_wave(key);
            left = left.saturating_sub(self.fan_out(key, left.min(QUANTUM)).max(1));
            self.core.topics.rotate_dirty();
        }
    }

    /// Serves up to `count` streams from the queue; answers how many it was.
    pub(crate) fn serve_queue(&mut self, count: usize) -> usize {
        // Streams that have more than one visit's worth to get queue up again, for the next turn.
        let count = count.min(self.core.queue.len());
        for _ in 0..count {
            let Some(slot) = self.core.queue.pop_front() else { break };
            if let Some(stream) = self.core.slots.stream_mut(slot) {
                stream.queued = false;
                self.serve(slot, BYTES_PER_VISIT);
            }
        }
        count
    }

    /// Goes on with the topic's wave: offers what was published to the next `count` subscribers. Answers how many were
    /// visited.
    ///
    /// This is the hot path. Whoever is at the end of the log, and that is nearly everyone, gets the same contiguous bytes
    /// in one write; whoever needs more thought is left aside.
    fn fan_out(&mut self, key: TopicKey, count: usize) -> usize {
        let tick = self.core.tick();
        let topic = self.core.topics.get_mut(key);
        let start = topic.wave.unwrap_or(0);
        let end = start.saturating_add(count).min(topic.subscribers.len());
        topic.wave = Some(end);

        let mut shared: Option<Shared<'_>> = None;
        let mut behind = 0;
        for &slot in topic.subscribers.get(start..end).unwrap_or_default() {
            let Some(entry) = self.core.slots.get_mut(slot) else { continue };
            let writable = &mut entry.writable;
            let Connection::Streaming(stream) = &mut entry.state else { continue };
            if stream.behind || !stream.reads_one_log() {
                self.flush.aside.push(slot);
                continue;
            }
            let cursor = stream.cursor();
            if shared.as_ref().is_none_or(|shared| !(shared.from..shared.to).contains(&cursor.sequence)) {
                match topic.log.place(cursor.sequence) {
                    Place::End => continue,
                    Place::FellOff => {
                        self.flush.failed.push((slot, CloseReason::Lagged));
                        continue;
                    }
                    Place::Before { block, frame } => {
                        let run = topic.log.run(block, frame);
                        let (from, to) = (topic.log.before(block, frame), run.frames[0].sequence);
                        let chunked = Batch::of_run(run, 0);
                        let finished = chunked.advance(cursor, chunked.bytes.len());
                        shared = Some(Shared { from, to, chunked, finished, unwrapped: false, block, frame });
                    }
                }
            }
            let Some(shared) = &mut shared else { continue };
            let batch = match stream.framing {
                Framing::Chunked => shared.chunked,
                Framing::CloseDelimited => {
                    if !shared.unwrapped {
                        unwrap_run(topic.log.run(shared.block, shared.frame), &mut self.flush.unwrapped);
                        shared.unwrapped = true;
                    }
                    Batch::of_copy(&self.flush.unwrapped)
                }
            };
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            match write(&mut self.net, socket, batch.bytes) {
                Ok(written) => {
                    let advance =
                        if written.all { shared.finished } else { batch.advance(cursor, written.bytes) };
                    stream.set_cursor(advance.cursor);
                    stream.took(written.bytes, tick);
                    self.core.stats.events_delivered += advance.events;
                    self.core.stats.bytes_written += written.bytes as u64;
                    *writable = written.all;
                    if !written.all {
                        stream.behind = true;
                        behind += 1;
                    } else if advance.cursor.sequence < topic.log.newest() {
                        self.flush.aside.push(slot);
                    }
                }
                Err(reason) => self.flush.failed.push((slot, reason)),
            }
        }
        self.core.topics.get_mut(key).behind += behind;
        self.core.behind += u64::from(behind);

        let mut failed = std::mem::take(&mut self.flush.failed);
        for (slot, reason) in failed.drain(..) {
            self.core.end(slot, reason);
        }
        self.flush.failed = failed;
        let mut aside = std::mem::take(&mut self.flush.aside);
        for slot in aside.drain(..) {
            // As much as the socket takes: what a wave has offered, the log may forget when the next one begins.
            self.serve(slot, usize::MAX);
        }
        self.flush.aside = aside;
        end - start.min(end)
    }

    /// Gives one stream what there is for it, in whatever logs it lies, as far as the socket and `budget`, in bytes, allow.
    fn serve(&mut self, slot: u32, mut budget: usize) {
        loop {
            let tick = self.core.tick();
            let Some(entry) = self.core.slots.get_mut(slot) else { return };
            let writable = entry.writable;
            let Some(stream) = entry.stream_mut() else { return };
            if !writable {
                // It goes on when the poll tells of room; but not for ever.
                if self.core.has_fallen_off(slot) {
                    self.core.end(slot, CloseReason::Lagged);
                } else {
                    self.core.set_behind(slot, true);
                }
                return;
            }
            let cursor = stream.cursor();
            let last = stream.last();
            let framing = stream.framing;
            let behind = stream.behind;
            let (batch, newest) = {
                let sources = sources(stream, &self.core.topics);
                let batch = next_batch(
                    sources.as_slice(),
                    cursor,
                    behind,
                    last.unwrap_or(u64::MAX),
                    framing,
                    &mut self.core.scratch,
                );
                (batch, sources.as_slice().iter().map(|source| source.log.newest()).max())
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(FellOff) => return self.core.end(slot, CloseReason::Lagged),
            };
            if batch.is_empty() {
                return self.nothing_left(slot);
            }
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
            let written = match write(&mut self.net, socket, batch.bytes) {
                Ok(written) => written,
                Err(reason) => return self.core.end(slot, reason),
            };
            let advance = batch.advance(cursor, written.bytes);
            self.core.stats.events_delivered += advance.events;
            self.core.stats.bytes_written += written.bytes as u64;
            let Some(entry) = self.core.slots.get_mut(slot) else { return };
            entry.writable = written.all;
            let Some(stream) = entry.stream_mut() else { return };
            stream.set_cursor(advance.cursor);
            stream.took(written.bytes, tick);
            // Most often that was all: to look for more would find nothing.
            if written.all && last.is_none() && newest.is_some_and(|newest| newest <= advance.cursor.sequence)
            {
                return self.nothing_left(slot);
            }
            self.core.release_private(slot);

            if last.is_some_and(|last| advance.cursor.sequence >= last) {
                return self.finish(slot);
            }
            if last.is_some() {
                self.core.leave_exhausted(slot);
            }
            budget = budget.saturating_sub(written.bytes.max(1));
            if !written.all || budget == 0 {
                self.core.set_behind(slot, true);
                if written.all {
                    self.core.queue(slot);
                }
                return;
            }
        }
    }

    /// All that a stream reads has been given to it, or is not for it as it has been superseded.
    fn nothing_left(&mut self, slot: u32) {
        let newest = self.core.topics.sequence();
        if let Some(stream) = self.core.slots.stream_mut(slot) {
            stream.skip_to(newest);
        }
        self.core.caught_up(slot);
    }

    /// The end of the body has been written: the connection carries the next request, or closes.
    fn finish(&mut self, slot: u32) {
        let Some(stream) = self.core.slots.stream(slot) else { return };
        debug_assert_eq!(stream.phase, Phase::Ending);
        let last = !stream.flags.has(Flags::KEEP_ALIVE);
        // What has made it the last response may be more than the peer's wish.
        let close = last.then(|| self.reason_to_close(slot, true, None).unwrap_or(CloseReason::Completed));
        let held = self.core.dissolve(slot);
        self.replied(slot, close, held);
    }
}
