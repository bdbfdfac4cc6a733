//! A whole connection: requests, streams that end and streams that do not, one behind the other, and somebody
//! else who listens to what is published.

use super::talk::{App, check_any_pieces};
use mio_sse::Config;

/// As much may wait behind an open stream; a peer that sends more loses it, at a moment that depends on the
/// pieces.
const BYTES_MAX: usize = 2048;

/// The first three bytes tell how the others are cut into pieces, and how much the peer reads at a time.
pub fn check(data: &[u8]) {
    let Some((lengths, bytes)) = data.split_first_chunk::<3>() else { return };
    let mut config = Config::default();
    config.head_bytes_max = BYTES_MAX;
    config.target_bytes_max = 64;
    config.headers_max = 6;
    config.body_bytes_max = 64;
    check_any_pieces(bytes.get(..BYTES_MAX).unwrap_or(bytes), lengths, &App { config, streams: true });
}
