//! What a header line may say, in a request that is written as in a reply.

use crate::error::Error;
use crate::http::token::{is_control, is_token_byte};

/// The name of the header that sets a cookie, of which a reply may have several lines.
pub(crate) const SET_COOKIE: &str = "Set-Cookie";

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(invalid(name, "a name consists of letters, digits and !#$%&'*+-.^_`|~"));
    }
    Ok(())
}

pub(crate) fn check_value(name: &str, value: &[u8]) -> Result<(), Error> {
    if value.iter().copied().any(is_control) {
        return Err(invalid(name, "a value contains no line end and no other control character"));
    }
    Ok(())
}

pub(crate) fn invalid(name: &str, problem: &'static str) -> Error {
    Error::InvalidHeader { name: name.to_owned(), problem }
}
