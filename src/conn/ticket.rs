//! What ties a reply that comes later to the request that it is for.

use crate::conn::id::StreamId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The request's half: when it is dropped nobody waits for the reply any more, and the other half knows.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// What the request is known by; nothing if there was none.
    pub(crate) request: Option<StreamId>,
    gone: Arc<AtomicBool>,
    _counted: Arc<()>,
}

/// The half of those who reply.
#[derive(Debug, Clone)]
pub(crate) struct Awaited(Arc<AtomicBool>);

impl Ticket {
    /// Both halves. As long as the ticket lives it holds `counted`.
    pub(crate) fn new(request: Option<StreamId>, counted: Arc<()>) -> (Self, Awaited) {
        let gone = Arc::new(AtomicBool::new(false));
        (Self { request, gone: gone.clone(), _counted: counted }, Awaited(gone))
    }

    /// The half of those who reply.
    pub(crate) fn awaited(&self) -> Awaited {
        Awaited(self.gone.clone())
    }
}

impl Awaited {
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether this is the other half of `ticket`: there may be several for one request.
    pub(crate) fn is_of(&self, ticket: &Ticket) -> bool {
        Arc::ptr_eq(&self.0, &ticket.gone)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}
