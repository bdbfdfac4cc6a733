//! The number of connections from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit of counting: an IPv4 address, or a /64 network of IPv6, because that is what a provider gives one
/// customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        // A listener for both families sees IPv4 addresses mapped into IPv6.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Counts connections by address. Only slots that were entered have an entry.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    counts: Arc<Mutex<HashMap<Origin, usize>>>,
    /// The origin of the connection in each slot.
    of_slot: Vec<Option<Origin>>,
}

impl Addresses {
    /// The addresses of another loop, which share the counts.
    pub(crate) fn of_another_loop(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), of_slot: Vec::new() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Origin, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of connections from the origin of `address`.
    pub(crate) fn count(&self, address: IpAddr) -> usize {
        self.counts().get(&Origin::of(address)).copied().unwrap_or_default()
    }

    pub(crate) fn enter(&mut self, slot: u32, address: IpAddr) {
        let origin = Origin::of(address);
        *self.counts().entry(origin).or_default() += 1;
        let index = slot as usize;
        if index >= self.of_slot.len() {
            self.of_slot.resize(index + 1, None);
        }
        self.of_slot[index] = Some(origin);
    }

    pub(crate) fn leave(&mut self, slot: u32) {
        let Some(origin) = self.of_slot.get_mut(slot as usize).and_then(Option::take) else { return };
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&origin);
            }
        }
    }

    /// Frees memory of slots from `bound` on.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.of_slot.truncate(bound as usize);
        self.of_slot.shrink_to_fit();
        self.counts().shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let mut addresses = Addresses::default();
        addresses.enter(0, ip("192.0.2.1"));
        addresses.enter(7, ip("::ffff:192.0.2.1"));
        addresses.enter(1, ip("2001:db8:0:1::1"));
        addresses.enter(2, ip("2001:db8:0:1:ffff::2"));
        assert_eq!(addresses.count(ip("192.0.2.1")), 2);
        assert_eq!(addresses.count(ip("192.0.2.2")), 0);
        assert_eq!(addresses.count(ip("2001:db8:0:1::3")), 2);
        assert_eq!(addresses.count(ip("2001:db8:0:2::1")), 0);
        addresses.leave(7);
        addresses.leave(7);
        assert_eq!(addresses.count(ip("192.0.2.1")), 1);
    }

    #[test]
    fn no_count_is_left_after_all_have_left() {
        let mut addresses = Addresses::default();
        for slot in 0..1000 {
            addresses.enter(slot, std::net::Ipv4Addr::from_bits(slot).into());
        }
        (0..1000).for_each(|slot| addresses.leave(slot));
        assert!(addresses.counts().is_empty());
        addresses.shrink(0);
        assert_eq!(addresses.of_slot.capacity(), 0);
    }
}
