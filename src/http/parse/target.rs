//! The request target (RFC 9112 3.2): its forms, and its decoded path.

use crate::http::parse::rejection::Rejection;
use crate::http::parse::span::Span;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The parts of a target, as places in its text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The host and port of an absolute-form target.
    pub(crate) authority: Option<Span>,
    /// Empty if an absolute-form target ends after its authority, which means `/`.
    pub(crate) path: Span,
    /// The text after the question mark, if there is one.
    pub(crate) query: Option<Span>,
}

/// Splits a target into its parts. Authority-form is only for CONNECT, and CONNECT is only for proxies.
pub(crate) fn split(method: &str, target: &str) -> Result<Parts, Rejection> {
    if method == "CONNECT" {
        return Err(Rejection::ConnectUnsupported);
    }
    if target.contains('#') {
        return Err(Rejection::FragmentInTarget);
    }
    if target == "*" {
        let path = Span { start: 0, end: 1 };
        return if method == "OPTIONS" {
            Ok(Parts { authority: None, path, query: None })
        } else {
            Err(Rejection::AsteriskWithoutOptions)
        };
    }
    let (authority, path_start) = if target.starts_with('/') {
        (None, 0)
    } else {
        let start = scheme_len(target).ok_or(Rejection::InvalidTarget)?;
        let end = target[start..].find(['/', '?']).map_or(target.len(), |len| start + len);
        // An http URL must have a host (RFC 9110 4.2.1).
        if start == end || !is_host_and_port(&target.as_bytes()[start..end]) {
            return Err(Rejection::InvalidTarget);
        }
        (Some(Span { start, end }), end)
    };
    let question_mark = target[path_start..].find('?').map(|len| path_start + len);
    Ok(Parts {
        authority,
        path: Span { start: path_start, end: question_mark.unwrap_or(target.len()) },
        query: question_mark.map(|at| Span { start: at + 1, end: target.len() }),
    })
}

/// The length of `http://`, or of `https://`, which arrives here if a proxy has terminated TLS.
fn scheme_len(target: &str) -> Option<usize> {
    ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
}

/// Whether the value is `uri-host [ ":" port ]` (RFC 9110 7.2). An empty one is valid: clients send it if
/// their target has no authority.
pub(crate) fn is_host_and_port(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else { return false };
    if let Some(literal) = value.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match value.split_once(':') {
        Some((host, port)) => is_registered_name(host) && is_port(port),
        None => is_registered_name(value),
    }
}

/// `*DIGIT`, up to the largest port.
fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// `reg-name` (RFC 3986 3.2.2), which includes dotted IPv4 addresses.
fn is_registered_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    name.bytes().all(allowed) && is_well_encoded(name)
}

/// Decodes a path into `decoded`, which stays empty if there is nothing to decode.
pub(crate) fn decode_path(raw: &str, decoded: &mut String) -> Result<(), Rejection> {
    decoded.clear();
    if !raw.contains('%') {
        return Ok(());
    }
    if !is_well_encoded(raw) {
        return Err(Rejection::MalformedPercentEncoding);
    }
    // Through its bytes, the string keeps its capacity for the next request.
    let mut bytes = std::mem::take(decoded).into_bytes();
    bytes.extend(percent_decode_str(raw));
    let text = String::from_utf8(bytes).map_err(|_| Rejection::PathNotUtf8)?;
    if text.contains('\0') {
        return Err(Rejection::NulInPath);
    }
    *decoded = text;
    Ok(())
}

/// Decodes one segment of a raw path. `None` if two hexadecimal digits do not follow a percent sign, or if
/// the result is not UTF-8 or contains a NUL.
///
/// A router splits the raw path and then decodes the segments, because an encoded slash belongs to its
/// segment.
pub(crate) fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    // Nearly always there is nothing to decode, and the search for `%` is faster than decoding.
    let decoded = match raw.contains('%') {
        false => Cow::Borrowed(raw),
        true if is_well_encoded(raw) => percent_decode_str(raw).decode_utf8().ok()?,
        true => return None,
    };
    (!decoded.contains('\0')).then_some(decoded)
}

/// Whether two hexadecimal digits follow every percent sign.
fn is_well_encoded(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|rest| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
