//! Makes room for many descriptors.

use std::os::fd::AsFd;

/// Makes the process's table of descriptors large enough for `connections`, up to its limit. `any` is a
/// descriptor of ours.
///
/// Otherwise Linux doubles the table when it is full. In a program with several threads this waits until no
/// processor uses the old table, some 10 ms in which the loop stands still: nine times for 20,000
/// connections.
pub(crate) fn make_room(any: impl AsFd, connections: usize) {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let last = u64::try_from(connections).unwrap_or(u64::MAX).min(limit).saturating_sub(1);
    let last = i32::try_from(last).unwrap_or(i32::MAX);
    // The table never shrinks, so the largest descriptor so far determines its size.
    let copy = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(last)).and_then(nix::unistd::close);
    if let Err(error) = copy {
        log::debug!("cannot enlarge the table of descriptors in advance: {error}");
    }
}
