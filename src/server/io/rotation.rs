//! Several listeners that take turns, so none of them delays the others.

use crate::server::io::net::is_of_one_connection;
use std::io;

/// Listeners, and which of them is next.
#[derive(Debug, Default)]
pub(crate) struct Rotation<L> {
    members: Vec<Member<L>>,
    /// The listener that the next call begins with.
    next: usize,
}

#[derive(Debug)]
struct Member<L> {
    listener: L,
    /// Whether connections may wait: the poll has reported so, and no call has returned `WouldBlock` since.
    waiting: bool,
}

impl<L> Rotation<L> {
    pub(crate) fn new(listeners: Vec<L>) -> Self {
        let member = |listener| Member { listener, waiting: false };
        Self { members: listeners.into_iter().map(member).collect(), next: 0 }
    }

    /// Notes that connections wait at the listener with this number. Returns whether there is such a
    /// listener.
    pub(crate) fn ready(&mut self, number: usize) -> bool {
        self.members.get_mut(number).map(|member| member.waiting = true).is_some()
    }

    /// Calls `accept` with the listener whose turn it is. If it returns `WouldBlock`, continues with the next
    /// listener at which connections wait. An error for lack of resources does not end the listener's turn:
    /// otherwise every second listener would get only the calls that fail, and all calls with a descriptor of
    /// the reserve would go to the others.
    pub(crate) fn accept<T>(&mut self, mut accept: impl FnMut(&L) -> io::Result<T>) -> io::Result<T> {
        for _ in 0..self.members.len() {
            let number = self.next;
            self.next = (number + 1) % self.members.len();
            let member = &mut self.members[number];
            if !member.waiting {
                continue;
            }
            match accept(&member.listener) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => member.waiting = false,
                Err(error) if !is_of_one_connection(&error) => {
                    self.next = number;
                    return Err(error);
                }
                result => return result,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &L> {
        self.members.iter().map(|member| &member.listener)
    }

    /// Removes and returns all listeners.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = L> {
        std::mem::take(&mut self.members).into_iter().map(|member| member.listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io::ErrorKind;

    /// Listeners with these numbers of waiting connections, all reported by the poll.
    fn rotation(waiting: &[usize]) -> Rotation<(usize, RefCell<usize>)> {
        let listeners = waiting.iter().map(|count| RefCell::new(*count)).enumerate().collect();
        let mut rotation = Rotation::new(listeners);
        assert!((0..waiting.len()).all(|number| rotation.ready(number)));
        assert!(!rotation.ready(waiting.len()));
        rotation
    }

    /// The number of the listener that the next connection comes from, and the number of listeners asked.
    fn accept(rotation: &mut Rotation<(usize, RefCell<usize>)>) -> (Option<usize>, usize) {
        let mut asked = 0;
        let result = rotation.accept(|(number, waiting)| {
            asked += 1;
            let mut waiting = waiting.borrow_mut();
            *waiting = waiting.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
            Ok(*number)
        });
        (result.ok(), asked)
    }

    #[test]
    fn many_clients_at_one_listener_do_not_delay_another() {
        let mut rotation = rotation(&[1000, 2, 1]);
        let order: Vec<_> = (0..7).map(|_| accept(&mut rotation).0.unwrap()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 0, 0]);
    }

    #[test]
    fn a_listener_is_asked_until_it_has_none_and_again_only_when_ready() {
        let mut rotation = rotation(&[1, 1]);
        assert_eq!(accept(&mut rotation), (Some(0), 1));
        assert_eq!(accept(&mut rotation), (Some(1), 1));
        assert_eq!(accept(&mut rotation), (None, 2));
        assert_eq!(accept(&mut rotation), (None, 0));
        *rotation.iter().nth(1).unwrap().1.borrow_mut() = 1;
        assert_eq!(accept(&mut rotation), (None, 0), "the poll has not told");
        rotation.ready(1);
        assert_eq!(accept(&mut rotation), (Some(1), 1));
    }

    #[test]
    fn connections_still_wait_after_an_error() {
        let mut rotation = rotation(&[1, 1]);
        for error in [ErrorKind::Other, ErrorKind::ConnectionAborted, ErrorKind::OutOfMemory] {
            let result = rotation.accept(|_| Err::<(), _>(error.into()));
            assert_eq!(result.unwrap_err().kind(), error);
        }
        let mut found = [accept(&mut rotation).0, accept(&mut rotation).0];
        found.sort_unstable();
        assert_eq!(found, [Some(0), Some(1)]);
    }

    /// As if a descriptor of the reserve is given up after each failure.
    #[test]
    fn all_listeners_have_their_turn_when_descriptors_are_short() {
        let mut rotation = rotation(&[100, 100, 100]);
        let mut order = Vec::new();
        for _ in 0..6 {
            rotation.accept(|_| Err::<(), _>(io::Error::other("too many open files"))).unwrap_err();
            order.extend(accept(&mut rotation).0);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn aborted_connections_do_not_stop_the_rotation() {
        let mut rotation = rotation(&[100, 100]);
        let mut asked = Vec::new();
        for _ in 0..4 {
            let result = rotation.accept(|(number, _)| {
                asked.push(*number);
                Err::<(), _>(ErrorKind::ConnectionAborted.into())
            });
            result.unwrap_err();
        }
        assert_eq!(asked, [0, 1, 0, 1]);
    }

    #[test]
    fn no_connection_waits_without_listeners() {
        let mut rotation = rotation(&[1]);
        assert_eq!(rotation.take().count(), 1);
        assert_eq!(accept(&mut rotation), (None, 0));
        assert!(!rotation.ready(0));
    }
}
