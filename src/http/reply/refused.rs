//! The replies for a stream that is refused, always with the headers of the stream.

use crate::http::reply::reply::Reply;
use crate::http::reply::stream_reply::StreamReply;
use std::borrow::Cow;
use std::time::Duration;

impl StreamReply {
    /// A stream that has only `retry:` and closes. EventSource reconnects after it, and after no other
    /// status. It keeps the headers of the stream: without CORS headers, pages of other origins give up too.
    pub(crate) fn refused_softly(self, retry: Duration) -> Reply {
        let body = format!("retry: {}\n", retry.as_millis()).into_bytes();
        let mut whole = Reply::whole(Cow::Borrowed("text/event-stream"), Cow::Owned(body));
        whole.take_headers(self.into_headers(), "Cache-Control: no-store, no-transform\r\n");
        whole
    }

    /// 204 (No Content), which makes EventSource stop reconnecting. Caches may store other 204 replies (RFC
    /// 9110 15.3.5), but must not store this one: it is only true for a time, or for clients that have seen
    /// everything.
    pub(crate) fn over(self) -> Reply {
        let mut whole = Reply::no_content();
        whole.take_headers(self.into_headers(), "Cache-Control: no-store\r\n");
        whole
    }

    /// 503 (Service Unavailable), with the time after which to retry (RFC 9110 10.2.3).
    pub(crate) fn unavailable(self, retry: Duration) -> Reply {
        let mut whole = Reply::status(503);
        let seconds = retry.as_millis().div_ceil(1000);
        whole.take_headers(self.into_headers(), &format!("Retry-After: {seconds}\r\n"));
        whole
    }
}
