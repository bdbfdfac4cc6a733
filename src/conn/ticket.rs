//! Tickets: each connects a late reply to its request.

use crate::conn::id::StreamId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The request's half. When it is dropped, nothing waits for the reply, and the other half knows.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The id of the request; `None` if there was none.
    pub(crate) request: Option<StreamId>,
    gone: Arc<AtomicBool>,
    _counted: Arc<()>,
}

/// The half of those that reply.
#[derive(Debug, Clone)]
pub(crate) struct Awaited(Arc<AtomicBool>);

impl Ticket {
    /// Makes both halves. The ticket holds `counted` while it lives.
    pub(crate) fn new(request: Option<StreamId>, counted: Arc<()>) -> (Self, Awaited) {
        let gone = Arc::new(AtomicBool::new(false));
        (Self { request, gone: gone.clone(), _counted: counted }, Awaited(gone))
    }

    /// Another half for those that reply.
    pub(crate) fn awaited(&self) -> Awaited {
        Awaited(self.gone.clone())
    }
}

impl Awaited {
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether this is the other half of `ticket`. One request may have several.
    pub(crate) fn is_of(&self, ticket: &Ticket) -> bool {
        Arc::ptr_eq(&self.0, &ticket.gone)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}
