//! Room for the descriptors of a crowd.

use std::os::fd::AsFd;

/// Has the kernel make this process's table of descriptors large enough for `connections` at once, as far as
/// its limit goes. `any` is a descriptor of ours.
///
/// By itself Linux doubles the table when it is full. In a program with several threads that waits each time
/// until no processor uses the old one any more, some 10 ms in which the loop stands still: nine times while
/// 20,000 come.
pub(crate) fn make_room(any: impl AsFd, connections: usize) {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let last = u64::try_from(connections).unwrap_or(u64::MAX).min(limit).saturating_sub(1);
    let last = i32::try_from(last).unwrap_or(i32::MAX);
    // The table stays as large as the highest number has ever asked for.
    let copy = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(last)).and_then(nix::unistd::close);
    if let Err(error) = copy {
        log::debug!("the table of descriptors grows with the connections: {error}");
    }
}
