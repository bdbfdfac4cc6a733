//! The account of the memory that is held for others.
//!
//! Logs and encoders keep their own account in `Spares::held`: the capacity of their blocks, updated when one
//! grows. All other bytes have a `Charge` beside them, which counts in the `Account` until it is dropped.
//! Debug builds recount the logs after each turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What memory is used for, besides logs, which keep their own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Incomplete requests.
    Input,
    /// Replies that their sockets have not taken.
    Replies,
    /// The hands of streams: bytes that go out before everything else.
    Hands,
    /// Events that wait in channels.
    Channels,
    /// Keys and ids of frames.
    Indexes,
    /// Encoders and their output.
    Encoders,
}

/// The sums, in bytes. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Account {
    sums: Arc<[AtomicUsize; 6]>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account")
    }
}

impl Account {
    pub(crate) fn sum(&self, purpose: Purpose) -> usize {
        self.sums[purpose as usize].load(Ordering::Relaxed)
    }

    /// Adds `bytes` until the charge is dropped.
    pub(crate) fn charge(&self, purpose: Purpose, bytes: usize) -> Charge {
        self.sums[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        Charge { account: self.clone(), purpose, bytes }
    }
}

/// Bytes that count in an account until this is dropped. It is stored beside those bytes.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Account,
    purpose: Purpose,
    bytes: usize,
}

impl Charge {
    /// Changes the charge to `bytes`.
    pub(crate) fn set(&mut self, bytes: usize) {
        let sum = &self.account.sums[self.purpose as usize];
        sum.fetch_add(bytes, Ordering::Relaxed);
        sum.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_until_it_is_dropped() {
        let account = Account::default();
        let mut one = account.charge(Purpose::Input, 10);
        let other = account.charge(Purpose::Input, 5);
        one.set(3);
        assert_eq!((account.sum(Purpose::Input), account.sum(Purpose::Replies)), (8, 0));
        drop(one);
        drop(other);
        assert_eq!(account.sum(Purpose::Input), 0);
    }
}
