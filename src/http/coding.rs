//! Content codings that a client accepts (RFC 9110 12.5.3).

use crate::http::parse::request::Request;

/// Whether a client accepts gzip, and prefers it at least as much as no compression.
pub(crate) fn accepts_gzip(request: &Request<'_>) -> bool {
    let lines = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Accept-Encoding"));
    prefers_gzip(lines.map(|(_, value)| value))
}

fn prefers_gzip<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for line in lines {
        for part in line.split(|byte| *byte == b',') {
            let Ok(part) = str::from_utf8(part) else { continue };
            let (coding, parameters) = part.split_once(';').unwrap_or((part, ""));
            let weight = weight(parameters);
            let coding = coding.trim();
            let found = match () {
                () if ["gzip", "x-gzip"].iter().any(|name| coding.eq_ignore_ascii_case(name)) => &mut gzip,
                () if coding.eq_ignore_ascii_case("identity") => &mut identity,
                () if coding == "*" => &mut any,
                () => continue,
            };
            *found = (*found).max(Some(weight));
        }
    }
    // A coding that is not named counts less than one that is.
    let (gzip, identity) = (gzip.or(any).unwrap_or(0), identity.unwrap_or(0));
    gzip > 0 && gzip >= identity
}

/// The weight among the parameters, in thousandths (RFC 9110 12.4.2). A malformed weight counts as 0: the
/// client then gets no compression, which all clients understand.
fn weight(parameters: &str) -> u16 {
    let parameters = parameters.split(';').map(str::trim);
    let mut weights = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(weight) = weights.next_back() else { return 1000 };
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let is_number = part.len() <= 3 && part.bytes().all(|digit| digit.is_ascii_digit());
    match whole {
        "0" if is_number => format!("{part:0<3}").parse().unwrap_or(0),
        "1" if is_number && part.bytes().all(|digit| digit == b'0') => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(lines: &[&str]) -> bool {
        prefers_gzip(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn gzip_is_chosen_if_preferred_at_least_as_much_as_no_compression() {
        for yes in [
            "gzip",
            "gzip, deflate, br, zstd",
            "br;q=1.0, GZIP;Q=0.001",
            "*",
            "identity;q=0.5, gzip;q=0.5",
            "identity;q=0, gzip;q=0.1",
            "deflate;q=0, x-gzip",
            "gzip ; q=1.000",
            " \tgzip\t",
            "gzip;q=0, gzip",
        ] {
            assert!(accepts(&[yes]), "{yes}");
        }
        for no in [
            "",
            "identity",
            "br, zstd, deflate",
            "gzip;q=0",
            "gzip;q=0.000",
            "*;q=0",
            "gzip;q=0, *",
            "gzip;q=0.4, identity;q=0.5",
            "gzip;q=2",
            "gzip;q=-1",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;q=NaN",
            "gzipped",
            "\u{fffd}gzip",
        ] {
            assert!(!accepts(&[no]), "{no}");
        }
        assert!(accepts(&["br", "gzip;q=0.2"]));
        assert!(!accepts(&[]));
        assert!(!prefers_gzip([&b"\xffgzip"[..]].into_iter()));
    }
}
