//! Checks of header lines, for requests that are written and for replies.

use crate::error::Error;
use crate::http::token::{is_control, is_token_byte};

/// The name of the header that sets a cookie. A reply may have several such lines.
pub(crate) const SET_COOKIE: &str = "Set-Cookie";

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(invalid(name, "a name must consist of letters, digits and !#$%&'*+-.^_`|~"));
    }
    Ok(())
}

pub(crate) fn check_value(name: &str, value: &[u8]) -> Result<(), Error> {
    if value.iter().copied().any(is_control) {
        return Err(invalid(name, "a value must not contain line ends or other control characters"));
    }
    Ok(())
}

pub(crate) fn invalid(name: &str, problem: &'static str) -> Error {
    Error::InvalidHeader { name: name.to_owned(), problem }
}
