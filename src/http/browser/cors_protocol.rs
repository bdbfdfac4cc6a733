//! The server's half of the CORS protocol (Fetch standard): the effect of [`Cors`] on requests and replies.
//!
//! The only text of a request that is written back are names of headers, which are tokens. An origin is
//! written as it was configured.

use crate::http::browser::cors::{Cors, Origins, is_token};
use crate::http::parse::request::Request;
use crate::http::reply::headers::Headers;
use crate::http::reply::reply::Reply;
use crate::http::reply::stream_reply::StreamReply;

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

impl Cors {
    /// The reply to a preflight, without the headers that all replies get. `None` for any other request,
    /// which goes to the handler.
    pub(crate) fn preflight(&self, request: &Request<'_>) -> Option<Reply> {
        asked_method(request)?;
        let mut headers = Headers::default();
        if self.allowed_origin(request).is_some() {
            let names = match &self.headers {
                Some(names) => names.join(", "),
                None => {
                    headers.add("Vary", "Access-Control-Request-Headers");
                    requested_headers(request).unwrap_or_default().join(", ")
                }
            };
            for (name, list) in [
                ("Access-Control-Allow-Methods", self.methods.join(", ")),
                ("Access-Control-Allow-Headers", names),
            ] {
                if !list.is_empty() {
                    headers.add(name, &list);
                }
            }
            if let Some(age) = self.max_age {
                headers.add("Access-Control-Max-Age", &age.as_secs().to_string());
            }
            if self.private_network
                && request.header_bytes("Access-Control-Request-Private-Network") == Some(b"true")
            {
                headers.add("Access-Control-Allow-Private-Network", "true");
            }
        }
        Some(Reply::no_content().with_headers(headers))
    }

    /// Adds the headers for every reply to `request`, unless the application has set them.
    fn add_to(&self, headers: &mut Headers, request: &Request<'_>) {
        if headers.has(ALLOW_ORIGIN) {
            return;
        }
        if matches!(self.origins, Origins::Listed(_)) {
            headers.add("Vary", "Origin");
        }
        if let Some(origin) = self.allowed_origin(request) {
            headers.add(ALLOW_ORIGIN, origin);
            if self.credentials {
                headers.add("Access-Control-Allow-Credentials", "true");
            }
            if !self.exposed.is_empty() && asked_method(request).is_none() {
                headers.add("Access-Control-Expose-Headers", &self.exposed.join(", "));
            }
        }
    }

    /// Adds the headers for a reply to a request whose head could not be read: none, unless all origins are
    /// allowed.
    fn add_unread(&self, headers: &mut Headers) {
        if matches!(self.origins, Origins::Any) {
            headers.add(ALLOW_ORIGIN, "*");
        }
    }

    /// The origin that the reply allows. A request has at most one `Origin` (Fetch, `Origin` header); two of
    /// them are not trusted.
    fn allowed_origin(&self, request: &Request<'_>) -> Option<&str> {
        let Origins::Listed(origins) = &self.origins else { return Some("*") };
        let mut named = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Origin"));
        let (Some((_, origin)), None) = (named.next(), named.next()) else { return None };
        origins.iter().find(|allowed| allowed.as_bytes() == origin).map(String::as_str)
    }
}

impl Reply {
    /// Adds the headers that let a page of another origin read the reply to `request`.
    pub(crate) fn share(&mut self, cors: &Cors, request: &Request<'_>) {
        if let Some(headers) = self.headers_mut() {
            cors.add_to(headers, request);
        }
    }

    /// The same for the reply to a request that could not be read.
    pub(crate) fn share_unread(&mut self, cors: &Cors) {
        if let Some(headers) = self.headers_mut() {
            cors.add_unread(headers);
        }
    }
}

impl StreamReply {
    /// Adds the headers that let a page of another origin read the stream for `request`.
    pub(crate) fn share(&mut self, cors: &Cors, request: &Request<'_>) {
        cors.add_to(self.headers_mut(), request);
    }
}

/// The method that a preflight asks for; `None` if the request is not a preflight.
pub(crate) fn asked_method<'a>(request: &Request<'a>) -> Option<&'a str> {
    if request.method() != "OPTIONS" || request.header_bytes("Origin").is_none() {
        return None;
    }
    // A value that is not text is not a method.
    request
        .header_bytes("Access-Control-Request-Method")
        .map(|method| str::from_utf8(method).unwrap_or_default())
}

/// The headers that a preflight asks for; `None` if they are not a list of names.
fn requested_headers<'a>(request: &Request<'a>) -> Option<Vec<&'a str>> {
    let lines =
        request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Access-Control-Request-Headers"));
    let names = lines.flat_map(|(_, line)| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // Empty elements are allowed (RFC 9110 5.6.1.2).
    let names = names.filter(|name| !name.is_empty()).map(|name| str::from_utf8(name).ok());
    names.map(|name| name.filter(|name| is_token(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse::incoming::{Incoming, Progress};
    use crate::http::parse::limits::Limits;
    use crate::http::reply::headers::HeadContext;
    use proptest::prelude::*;
    use std::time::Duration;

    const LIMITS: Limits =
        Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 64, body_bytes_max: 1000 };

    /// The reply to a preflight with these header lines, without the status line and the date. `None` if the
    /// request is not a preflight, or is malformed.
    fn preflight(cors: &Cors, lines: impl AsRef<[u8]>) -> Option<Vec<String>> {
        let bytes = [b"OPTIONS /a HTTP/1.0\r\n", lines.as_ref(), b"\r\n"].concat();
        let mut incoming = Incoming::default();
        let Ok(Progress::Complete { .. }) = incoming.advance(&bytes, &LIMITS) else { return None };
        let request = incoming.request(&bytes);
        let mut reply = cors.preflight(&request)?;
        reply.share(cors, &request);
        let cx = HeadContext { date: "now", keep_alive: true, http_10: false, head_request: false };
        let mut out = Vec::new();
        reply.encode(&cx, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_prefix("HTTP/1.1 204 No Content\r\nDate: now\r\n").unwrap();
        Some(lines.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(str::to_owned).collect())
    }

    const ASKS: &str = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n";

    #[test]
    fn preflights() {
        let answer = |cors: Cors, asks_for: &str| preflight(&cors, format!("{ASKS}{asks_for}")).unwrap();
        assert_eq!(
            answer(Cors::any(), ""),
            [
                "Vary: Access-Control-Request-Headers",
                "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Origin: *",
            ]
        );
        let listed = Cors::origins(["https://b.example", "https://a.example"]);
        assert_eq!(
            answer(
                listed
                    .clone()
                    .credentials()
                    .methods(["PUT", "QUERY"])
                    .headers(["x-a", "X-B"])
                    .max_age(Duration::from_millis(60_999)),
                "Access-Control-Request-Headers: x-c\r\n",
            ),
            [
                "Access-Control-Allow-Methods: PUT, QUERY",
                "Access-Control-Allow-Headers: x-a, X-B",
                "Access-Control-Max-Age: 60",
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://a.example",
                "Access-Control-Allow-Credentials: true",
            ]
        );
        let none = listed.methods(Vec::<String>::new()).headers(Vec::<String>::new());
        assert_eq!(answer(none, ""), ["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"]);
        let other = Cors::origins(["https://b.example"]).credentials().max_age(Duration::from_secs(1));
        assert_eq!(answer(other, "Access-Control-Request-Headers: x-c\r\n"), ["Vary: Origin"]);
    }

    #[test]
    fn other_requests_than_preflights() {
        let any = Cors::any();
        assert_eq!(preflight(&any, "Origin: https://a.example\r\n"), None);
        assert_eq!(preflight(&any, "Access-Control-Request-Method: PUT\r\n"), None);
        assert_eq!(preflight(&any, ""), None);
        assert!(preflight(&any, ASKS.to_ascii_lowercase()).is_some());
    }

    #[test]
    fn a_private_network_is_opened_to_allowed_origins() {
        let asks = |value: &str| format!("{ASKS}access-control-request-private-network: {value}\r\n");
        let allows = |cors: &Cors, lines: &str| {
            let head = preflight(cors, lines).unwrap();
            head.iter().any(|line| line == "Access-Control-Allow-Private-Network: true")
        };
        for cors in [Cors::any(), Cors::origins(["https://a.example"]).credentials()] {
            assert!(!allows(&cors, &asks("true")));
            let cors = cors.private_network();
            assert!(allows(&cors, &asks("true")));
            assert!(!allows(&cors, ASKS) && !allows(&cors, &asks("false")) && !allows(&cors, &asks("")));
        }
        assert!(!allows(&Cors::origins(["https://b.example"]).private_network(), &asks("true")));
    }

    #[test]
    fn no_headers_are_exposed_on_preflights() {
        let head = preflight(&Cors::any().expose(["X-A"]), ASKS).unwrap();
        assert!(!head.iter().any(|line| line.contains("Expose")), "{head:?}");
    }

    /// The headers that are allowed to a preflight with these lines.
    fn allowed(lines: impl AsRef<[u8]>) -> Option<String> {
        let head = preflight(&Cors::any(), [ASKS.as_bytes(), lines.as_ref()].concat())?;
        head.iter().find_map(|line| line.strip_prefix("Access-Control-Allow-Headers: ").map(str::to_owned))
    }

    #[test]
    fn the_headers_asked_for_are_allowed_if_they_are_names() {
        let allowed = |lines: &str| allowed(lines.replace("ACRH", "Access-Control-Request-Headers"));
        assert_eq!(allowed("ACRH: content-type\r\n").as_deref(), Some("content-type"));
        assert_eq!(allowed("ACRH: a,b ,, c\t,\r\n").as_deref(), Some("a, b, c"));
        assert_eq!(allowed("ACRH: a\r\nacrh: z\r\nACRH: b\r\n").as_deref(), Some("a, b"));
        let long = vec!["x-abc"; 500].join(",");
        assert_eq!(allowed(&format!("ACRH: {long}\r\n")), Some(long.replace(',', ", ")));
        for junk in ["", ",", "a b", "a, \"b\"", "a:b", "a;b", "\u{fc}", "a, (b)", "a\tb", "a\r\nACRH: b:"] {
            assert_eq!(allowed(&format!("ACRH: {junk}\r\n")), None, "{junk:?}");
        }
    }

    proptest! {
        /// Whatever a preflight asks for, the reply consists of lines of the known form.
        #[test]
        fn only_names_are_written_back(
            junk in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "[a-c,; \t:\"\u{7f}\u{80}\r\n]{0,12}".prop_map(String::into_bytes)],
        ) {
            let lines = [b"Access-Control-Request-Headers: ", &junk[..], b"\r\n"].concat();
            if let Some(names) = allowed(lines) {
                prop_assert!(names.split(", ").all(is_token), "{names:?}");
            }
            let lines = [b"Access-Control-Request-Method: PUT\r\nOrigin: ", &junk[..], b"\r\n"].concat();
            let list = Cors::origins(["https://a.example"]);
            if let Some(head) = preflight(&list, lines) {
                prop_assert_eq!(head, ["Vary: Origin"]);
            }
        }
    }
}
