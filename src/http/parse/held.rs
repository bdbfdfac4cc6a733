//! The bytes of an incomplete request.

use crate::account::{Account, Charge, Purpose};
use crate::http::parse::incoming::Incoming;

/// Bytes of an incomplete request, and the state of its parser.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    pub(crate) incoming: Incoming,
    charge: Charge,
}

impl Held {
    pub(crate) fn new(bytes: Vec<u8>, incoming: Incoming, account: &Account) -> Box<Self> {
        let mut held = Self { bytes, incoming, charge: account.charge(Purpose::Input, 0) };
        held.measure();
        Box::new(held)
    }

    /// Appends bytes that have arrived.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.measure();
    }

    /// Appends bytes that have arrived to those that are held, if any.
    pub(crate) fn add_to<'h>(held: &'h mut Option<Box<Self>>, bytes: &[u8], account: &Account) -> &'h Self {
        let held = held.get_or_insert_with(|| Self::new(Vec::new(), Incoming::default(), account));
        held.add(bytes);
        held
    }

    /// Frees unused memory, and notes the rest in the account.
    pub(crate) fn fit(&mut self) {
        self.incoming.retain(&mut self.bytes);
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
        self.measure();
    }

    fn measure(&mut self) {
        self.charge.set(size_of::<Self>() + self.bytes.capacity() + self.incoming.held());
    }

    /// The memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.charge.bytes()
    }
}
