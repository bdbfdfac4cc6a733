//! Reasons for rejecting a request before a handler sees it.

use std::fmt;

/// What is wrong with a request.
///
/// After a rejection it is unknown where the next request begins, so the connection is closed after the
/// reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub(crate) enum Rejection {
    // Before and in the request line.
    TlsHandshake,
    TooManyEmptyLines,
    MethodTooLong,
    MalformedRequestLine,
    TargetTooLong,
    UnsupportedVersion,
    // Anywhere in the head.
    BareCarriageReturn,
    BareLineFeed,
    ControlCharacter,
    HeadTooLarge,
    // Header lines.
    TooManyHeaders,
    ObsoleteLineFolding,
    WhitespaceBeforeColon,
    MalformedHeader,
    InvalidHeaderValue,
    // The meaning of the head.
    MissingHost,
    RepeatedHost,
    InvalidHost,
    MalformedContentLength,
    DifferingContentLengths,
    ContentLengthWithTransferEncoding,
    UnsupportedTransferEncoding,
    TransferEncodingNotChunked,
    RepeatedChunked,
    TransferEncodingInHttp10,
    UnsupportedExpectation,
    Misdirected,
    // The target.
    ConnectUnsupported,
    InvalidTarget,
    AsteriskWithoutOptions,
    FragmentInTarget,
    MalformedPercentEncoding,
    PathNotUtf8,
    NulInPath,
    // The body.
    BodyTooLarge,
    ChunkSizeOverflow,
    MalformedChunk,
    ChunkExtensionsTooLarge,
    MalformedTrailer,
    TrailersTooLarge,
}

impl Rejection {
    /// The status of the reply.
    pub(crate) fn status(self) -> u16 {
        self.details().0
    }

    /// The text of the reply: a sentence for the developer of the client.
    pub(crate) fn reason(self) -> &'static str {
        self.details().1
    }

    fn details(self) -> (u16, &'static str) {
        match self {
            Self::TlsHandshake => {
                (400, "This port speaks plain HTTP, but a TLS handshake arrived: use http://, not https://.")
            }
            Self::TooManyEmptyLines => (400, "Too many empty lines came before the request line."),
            Self::MethodTooLong => (501, "The method is longer than any that this server knows."),
            Self::MalformedRequestLine => (
                400,
                "The request line is malformed: it must be a method, one space, a target, one space and HTTP/1.1.",
            ),
            Self::TargetTooLong => (414, "The request target is too long."),
            Self::UnsupportedVersion => (505, "Only HTTP/1.1 and HTTP/1.0 are supported."),
            Self::BareCarriageReturn => {
                (400, "The head contains a carriage return that no line feed follows.")
            }
            Self::BareLineFeed => (400, "The head contains a line feed that no carriage return precedes."),
            Self::ControlCharacter => (400, "The head contains a control character."),
            Self::HeadTooLarge => (431, "The request line and the headers are too large in total."),
            Self::TooManyHeaders => (431, "The request has too many header lines."),
            Self::ObsoleteLineFolding => (
                400,
                "A header line begins with whitespace: folding a header over several lines is obsolete.",
            ),
            Self::WhitespaceBeforeColon => {
                (400, "There is whitespace between a header's name and its colon.")
            }
            Self::MalformedHeader => {
                (400, "A header line is malformed: it must be a name, a colon and a value.")
            }
            Self::InvalidHeaderValue => {
                (400, "A header's value contains a character that is not allowed there.")
            }
            Self::MissingHost => (400, "The Host header is missing, which HTTP/1.1 requires."),
            Self::RepeatedHost => (400, "The Host header is given more than once."),
            Self::InvalidHost => {
                (400, "The Host header is not a host name or address with an optional port.")
            }
            Self::MalformedContentLength => (400, "The Content-Length header is not a decimal number."),
            Self::DifferingContentLengths => (400, "Several Content-Length headers contradict each other."),
            Self::ContentLengthWithTransferEncoding => {
                (400, "Content-Length and Transfer-Encoding must not be given together.")
            }
            Self::UnsupportedTransferEncoding => (501, "The only transfer coding supported is chunked."),
            Self::TransferEncodingNotChunked => {
                (400, "The last transfer coding must be chunked, otherwise the end of the body is unknown.")
            }
            Self::RepeatedChunked => (400, "The chunked transfer coding must not be applied more than once."),
            Self::TransferEncodingInHttp10 => (400, "HTTP/1.0 has no Transfer-Encoding."),
            Self::UnsupportedExpectation => (417, "The only expectation supported is 100-continue."),
            Self::Misdirected => (421, "This server is not the host that the request names."),
            Self::ConnectUnsupported => (501, "This server is not a proxy and does not implement CONNECT."),
            Self::InvalidTarget => {
                (400, "The request target is neither a path that begins with a slash nor an http URL.")
            }
            Self::AsteriskWithoutOptions => (400, "The request target * is only for OPTIONS."),
            Self::FragmentInTarget => {
                (400, "The request target contains a fragment, which clients must not send.")
            }
            Self::MalformedPercentEncoding => {
                (400, "The path contains a percent sign without two hexadecimal digits after it.")
            }
            Self::PathNotUtf8 => (400, "The decoded path is not UTF-8."),
            Self::NulInPath => (400, "The decoded path contains a NUL."),
            Self::BodyTooLarge => (413, "The body is too large."),
            Self::ChunkSizeOverflow => (400, "The size of a chunk has too many digits."),
            Self::MalformedChunk => (400, "The chunked body is malformed."),
            Self::ChunkExtensionsTooLarge => (400, "The extensions of the chunks are too long."),
            Self::MalformedTrailer => (400, "A trailer line after the chunked body is malformed."),
            Self::TrailersTooLarge => (431, "The trailers after the chunked body are too large."),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_say_more_than_bad_request() {
        for (rejection, status) in [
            (Rejection::MissingHost, 400),
            (Rejection::BodyTooLarge, 413),
            (Rejection::TargetTooLong, 414),
            (Rejection::UnsupportedExpectation, 417),
            (Rejection::Misdirected, 421),
            (Rejection::HeadTooLarge, 431),
            (Rejection::TooManyHeaders, 431),
            (Rejection::TrailersTooLarge, 431),
            (Rejection::MethodTooLong, 501),
            (Rejection::ConnectUnsupported, 501),
            (Rejection::UnsupportedTransferEncoding, 501),
            (Rejection::UnsupportedVersion, 505),
        ] {
            assert_eq!(rejection.status(), status, "{rejection:?}");
        }
    }

    #[test]
    fn display_is_the_reason() {
        assert_eq!(Rejection::NulInPath.to_string(), "The decoded path contains a NUL.");
    }
}
