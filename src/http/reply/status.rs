//! Status codes and their reason phrases.

/// Replaces a status that no reply can have.
const INTERNAL_SERVER_ERROR: u16 = 500;

/// The status itself if a reply can have it, which is 200 to 599, otherwise 500: the application has computed
/// nonsense, and the client should notice.
pub(crate) fn or_internal_error(status: u16) -> u16 {
    if (200..=599).contains(&status) { status } else { INTERNAL_SERVER_ERROR }
}

/// Whether a reply of this status may carry a body (RFC 9110 15.3.5, 15.3.6, 15.4.5).
pub(crate) fn has_body(status: u16) -> bool {
    !matches!(status, 204 | 205 | 304)
}

/// Whether a reply of this status has a `Content-Length`. 205 has one: its body is empty, not left out. In a
/// 304 it would be the length of a body that is not sent, which the server does not know.
pub(crate) fn has_content_length(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

/// The phrase of the IANA registry; for a status that is not registered, the name of its class.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_a_status_become_500() {
        for status in [0, 100, 199, 600, 999, u16::MAX] {
            assert_eq!(or_internal_error(status), 500, "{status}");
        }
        for status in [200, 204, 418, 599] {
            assert_eq!(or_internal_error(status), status);
        }
    }

    #[test]
    fn unregistered_statuses_are_named_by_their_class() {
        assert_eq!(reason_phrase(299), "Success");
        assert_eq!(reason_phrase(399), "Redirection");
        assert_eq!(reason_phrase(499), "Client Error");
        assert_eq!(reason_phrase(599), "Server Error");
    }
}
