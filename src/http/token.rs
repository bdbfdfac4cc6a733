//! Which bytes may stand where, in requests as in replies.

/// The controls that neither a header's value nor an extension may contain.
pub(crate) fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// `tchar` (RFC 9110 5.6.2), what names of headers are made of.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
