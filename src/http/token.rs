//! Classes of bytes, for requests and replies.

/// Control characters that are not allowed in a header's value or a chunk extension.
pub(crate) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// `tchar` (RFC 9110 5.6.2), the bytes of a header's name.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
