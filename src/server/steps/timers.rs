//! Step 6: timers and other work that is due.

use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;

impl<H: App, N: Net> Server<H, N> {
    /// Closes streams, fires timers, asks sources, and continues a drain.
    pub(crate) fn do_what_is_due(&mut self) {
        self.core.close_next_together();
        self.fire_timers();
        self.core.pull_sources(&mut self.bad_events);
        self.drain();
    }

    /// Calls the timers that are due, and drops the revocations that are over.
    fn fire_timers(&mut self) {
        self.core.tags.forget_revoked(self.core.now, self.core.config.timers_per_turn);
        for _ in 0..self.core.config.timers_per_turn {
            let now = self.core.now;
            let Some(mut due) = self.core.timers.take_due(now) else { return };
            let id = due.id;
            self.core.work.timers += 1;
            let owner = due.owner.and_then(|slot| self.core.delivery.slots.id(slot));
            let state = self.handler.state();
            let called = self.core.guard("a timer", |core| (due.callback)(owner, core, state));
            if called.is_none() {
                // A timer that panics is not called again. It may have cancelled itself already.
                self.core.timers.remove(id);
                self.core.remains.add(due.callback);
                if let Some(owner) = owner {
                    self.core.end_for_panic(owner);
                }
                continue;
            }
            let over = self.core.timers.put_back(due, now);
            self.core.remains.add_all(over);
        }
    }
}
