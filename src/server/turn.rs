//! One turn of the loop: the nine steps.
//!
//! # A turn is short
//!
//! Each step has a budget. Work beyond it is done in the next turn, which then does not wait.
//! `Stats::work_max` shows the maximum of each kind, and the simulator fails beyond these bounds
//! (`check_work`).
//!
//! | work | bound in one turn |
//! |---|---|
//! | orders of other threads | 16 batches of 64 |
//! | bytes read, and bytes of whole replies | 4 MiB of all connections together; 1 MiB in all of a connection that lingers |
//! | bytes written to streams | 4 MiB, and 256 KiB for one stream at a time; a wave queues streams that are behind for later |
//! | sources | 256 visits of 64 events or 16 KiB |
//! | heartbeats and time-outs | 1,024 in a slice of the sweep |
//! | streams closed for a tag, with their topic, or by a drain | 1,024 each; fewer if they take along much of keyed topics (16 MiB) |
//! | reports, frees and destructors in step 9 | 1,024 each |
//! | events of a history that are too old | 4,096 frames; 1,024 when an event is published |
//! | making room in a log | one walk over the frames for all streams, whose places are sorted first |
//! | bytes compressed | each counts as eight that are written; the frames of a wave are compressed in one go |
//! | subscribers put into order | 1,048,576, about 30 ms, if more than an eighth are out of place |
//! | superseded frames of a keyed log | 4 MiB are copied, in blocks of which a quarter is superseded |
//!
//! Some work is bounded only by the number of things it concerns. `send_tagged` visits all streams with the
//! tag in one call (3 ms for 20,000), because events leave in the order of the calls. Making room looks at
//! all subscribers of a topic. A loss of an external log appends a notice to each of its topics. A stream
//! that is closed copies what it still needs of a keyed topic.

use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::draining::Draining;
use std::io;
use std::time::Duration;

impl<H: App, N: Net> Server<H, N> {
    /// Runs until the server is [stopped](Context::stop).
    ///
    /// # Errors
    /// Only if the operating system refuses to wait for events. Nothing that a client does stops a server.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopped {
            self.turn(None)?;
        }
        Ok(())
    }

    /// One turn of the loop: waits for work, at most for `timeout` (`None`: for ever, `Some(ZERO)`: not at
    /// all), does it, and returns. Every step has a budget, so every turn is short.
    ///
    /// In a loop of your own: wait until the server's descriptor ([`AsFd`](std::os::fd::AsFd)) is readable or
    /// [`next_timeout`](Self::next_timeout) is over, then call `turn(Some(Duration::ZERO))`. See the guide
    /// [Embedding](crate::guide::embedding).
    ///
    /// After the server has been stopped this does nothing.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.stopped {
            return Ok(());
        }
        let timeout = self.nearest_deadline(timeout); // 1.
        self.poll(timeout)?; // 2.
        self.read_clock(); // 3.
        self.take_inbox(); // 4.
        self.accept_and_read(); // 5.
        self.do_what_is_due(); // 6.
        self.flush(); // 7.
        self.sweep(); // 8.
        self.free_closed(); // 9.
        self.end_turn();
        Ok(())
    }

    /// How long the server can wait before it has work of its own. `None`: until something arrives. For a
    /// loop of your own.
    pub fn next_timeout(&mut self) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        self.nearest_deadline(None)
    }

    /// Step 1: how long to wait, at most `limit`. Zero while work is left from the last turn.
    fn nearest_deadline(&self, limit: Option<Duration>) -> Option<Duration> {
        let core = &self.core;
        let unfinished = !self.started
            || (self.inbox_waiting || core.waits_for_own()) && self.inbox_rests_until.is_none()
            || self.accept.is_waiting(core.now)
            || !core.unread.is_empty()
            || !core.late.is_empty()
            || !core.delivery.queue.is_empty()
            || !core.ready_sources.is_empty()
            || core.is_closing_together()
            || !core.remains.is_empty()
            || !core.ended.is_empty()
            || !core.closed.is_empty()
            || core.stopping
            || core.drain.as_ref().is_some_and(|drain| !drain.listener_closed)
            || self.net.has_more()
            || core.delivery.topics.has_dirty()
            || core.delivery.topics.is_behind();
        if unfinished {
            return Some(Duration::ZERO);
        }
        let deadlines =
            [core.timers.next_due(), core.tags.next_due(), self.sweep.next_due(core), self.accept.next_due()];
        let relief = core.pressure.next_due(core.memory().total(), core.config.memory_max);
        let deadlines = deadlines
            .into_iter()
            .chain([self.inbox_rests_until, core.delivery.topics.next_paced().map(Duration::from_millis)])
            .chain([core.drain.as_ref().map(Draining::next_due), relief]);
        // Time has passed since the last turn read the clock.
        let wait = deadlines.flatten().min().map(|due| due.saturating_sub(self.net.now()));
        match (wait, limit) {
            (Some(wait), Some(limit)) => Some(wait.min(limit)),
            (wait, limit) => wait.or(limit),
        }
    }

    /// Step 2: waits for readiness.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.poll(timeout, &mut self.ready)
    }

    /// Step 3: reads the clock, once in each turn.
    fn read_clock(&mut self) {
        self.tell_time();
        self.core.stats.turns += 1;
        self.mark_ages();
        // The thread that runs the loop must not wait for the inbox.
        self.core.inbox.bind_to_this_thread();
        if !self.started {
            self.started = true;
            self.replenish_reserve();
            let handler = &mut self.handler;
            self.core.guard("the handler of the start", |core| {
                handler.started(&mut Context::new(core));
            });
        }
    }

    /// Measures this turn. Stops the server if this was the last one.
    fn end_turn(&mut self) {
        debug_assert_eq!(self.core.delivery.topics.broken_invariant(), None);
        debug_assert!(self.core.is_well_counted(), "memory is miscounted");
        self.measure();
        if self.core.stopping || self.is_drained() {
            self.stop();
        }
        self.core.network_bytes = self.net.held();
        self.core.note_for_others();
    }

    fn measure(&mut self) {
        let took = self.net.now().saturating_sub(self.core.now);
        let mut work = std::mem::take(&mut self.core.work);
        let written = self.core.stats.bytes_written + self.core.delivery.delivered.bytes;
        work.bytes_written = written - std::mem::replace(&mut self.written, written);
        self.core.taken_together = 0;
        (work.streams_for_room, work.bytes_taken_along) = self.core.delivery.take_work();
        self.core.stats.count_turn(took, &work);
        if took > self.core.config.slow_turn {
            self.core.stats.slow_turns += 1;
            if self.slow.is_due(self.core.now, Duration::from_secs(10)) {
                let count = self.core.stats.slow_turns;
                log::warn!("a turn took {took:?} and delayed all other streams ({count} slow turns so far)");
            }
        }
    }
}
