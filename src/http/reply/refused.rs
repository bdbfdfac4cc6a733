//! What is answered instead of a stream that is refused: always with the headers that the stream would have
//! had.

use crate::http::reply::reply::Reply;
use crate::http::reply::stream_reply::StreamReply;
use std::borrow::Cow;
use std::time::Duration;

impl StreamReply {
    /// In place of the stream: one that only says when to come again. EventSource survives it, as it does no
    /// other status; headers are those of the stream, since without CORS headers a page of another origin
    /// gives up too.
    pub(crate) fn refused_softly(self, retry: Duration) -> Reply {
        let body = format!("retry: {}\n", retry.as_millis()).into_bytes();
        let mut whole = Reply::whole(Cow::Borrowed("text/event-stream"), Cow::Owned(body));
        whole.take_headers(self.into_headers(), "Cache-Control: no-store, no-transform\r\n");
        whole
    }

    /// In place of the stream: 204 (No Content), which no EventSource comes back from. Not to be kept by a
    /// cache, as any other 204 may be (RFC 9110 15.3.5): it holds for a time, or for those who have seen
    /// everything.
    pub(crate) fn over(self) -> Reply {
        let mut whole = Reply::no_content();
        whole.take_headers(self.into_headers(), "Cache-Control: no-store\r\n");
        whole
    }

    /// In place of the stream: 503 (Service Unavailable), and when to come again (RFC 9110 10.2.3).
    pub(crate) fn unavailable(self, retry: Duration) -> Reply {
        let mut whole = Reply::status(503);
        let seconds = retry.as_millis().div_ceil(1000);
        whole.take_headers(self.into_headers(), &format!("Retry-After: {seconds}\r\n"));
        whole
    }
}
