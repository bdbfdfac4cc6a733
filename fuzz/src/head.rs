//! Request heads, one after the other, under limits so small that all of them are met.

use super::talk::{App, Pieces, check_any_pieces, talk};
use mio_sse::Config;

/// More than this says nothing new about heads of at most [`Config::head_bytes_max`] bytes.
const BYTES_MAX: usize = 1024;

/// The first three bytes tell how the others are cut into pieces, and the first of them whether all hosts are
/// served.
///
/// However they are cut, the same requests are seen and the same is answered. And what was seen, written
/// again by the plainest of clients, is seen the same: so nothing is in a request that its parts do not say.
pub fn check(data: &[u8]) {
    let Some((lengths, bytes)) = data.split_first_chunk::<3>() else { return };
    let app = app(lengths[0] == u8::MAX);
    let talked = check_any_pieces(bytes.get(..BYTES_MAX).unwrap_or(bytes), lengths, &app);
    for seen in talked.seen {
        let again = talk::<true>(&seen.to_bytes(), Pieces::Whole, &app);
        assert_eq!(again.seen, [seen]);
    }
}

fn app(has_hosts: bool) -> App {
    let mut config = Config::default();
    config.head_bytes_max = 256;
    config.target_bytes_max = 64;
    config.headers_max = 6;
    config.body_bytes_max = 32;
    if has_hosts {
        config.hosts = vec!["a".to_owned(), "b:8".to_owned()];
    }
    App { config, streams: false }
}
