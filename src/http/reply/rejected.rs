//! The reply to a request that was rejected.

use crate::http::parse::rejection::Rejection;
use crate::http::reply::reply::Reply;

impl Rejection {
    /// The whole reply. The connection must be closed after it.
    pub(crate) fn reply(self) -> Reply {
        Reply::text(self.reason()).with_status(self.status()).by_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::headers::HeadContext;

    #[test]
    fn the_answer_names_the_reason_and_closes() {
        let mut out = Vec::new();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let cx = HeadContext { date, keep_alive: false, http_10: false, head_request: false };
        Rejection::MissingHost.reply().encode(&cx, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 400 Bad Request\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 52\r\n\
             Connection: close\r\n\
             \r\n\
             The Host header is missing, which HTTP/1.1 requires."
        );
    }
}
