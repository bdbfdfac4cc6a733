//! Responses as a strict client reads them, knowing nothing of who wrote them.

/// One response, complete as far as the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The end of the body has been told: by a length, by a last chunk, or because there can be none.
    pub(crate) ended: bool,
    /// How many interim responses came in front.
    pub(crate) interim: usize,
}

impl Response {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} once");
        value
    }

    pub(crate) fn closes(&self) -> bool {
        self.get("Connection") == Some("close")
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.get("Content-Type") == Some("text/event-stream")
    }
}

/// Reads all responses in `text`, which must be nothing else. `heads` tells of each whether it answers HEAD,
/// which has no body; those behind answer what was refused. Of a refusal with nothing after its head, that
/// was HEAD too.
pub(crate) fn read_all(text: &str, heads: impl IntoIterator<Item = bool>) -> Vec<Response> {
    let mut heads = heads.into_iter();
    let mut responses = Vec::new();
    let mut rest = text;
    let mut interim = 0;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n") {
            rest = behind;
            interim += 1;
            continue;
        }
        let (mut response, behind) = read_head(rest);
        rest = read_body(&mut response, behind, heads.next().unwrap_or(behind.is_empty()));
        response.interim = std::mem::take(&mut interim);
        responses.push(response);
    }
    responses
}

fn read_head(text: &str) -> (Response, &str) {
    let (head, behind) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a head, not {text:?}"));
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("a status line, not {line:?}"));
    let (status, reason) = status.split_once(' ').expect("a space behind the status");
    assert!(status.len() == 3 && !reason.is_empty(), "status line {line:?}");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a header, not {line:?}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "header {line:?}");
        assert!(!value.chars().any(char::is_control), "header {line:?}");
        (name.to_owned(), value.to_owned())
    });
    let headers = headers.collect();
    let status = status.parse().expect("a status in digits");
    let response = Response { status, headers, body: String::new(), ended: true, interim: 0 };
    assert!(response.get("Date").is_some_and(|date| date.ends_with(" GMT")), "{head:?}");
    assert!(matches!(response.get("Connection"), None | Some("close" | "keep-alive")), "{head:?}");
    (response, behind)
}

/// Takes the body off `rest` and returns what follows it.
fn read_body<'a>(response: &mut Response, rest: &'a str, head: bool) -> &'a str {
    let length = response.get("Content-Length").map(|length| length.parse::<usize>().expect("a length"));
    let chunked = response.get("Transfer-Encoding").map(|coding| assert_eq!(coding, "chunked")).is_some();
    assert!(length.is_none() || !chunked, "one framing");
    if head || response.status == 204 || response.status == 304 {
        assert!(response.status != 204 || length.is_none() && !chunked, "204 has no body to frame");
        return rest;
    }
    if let Some(length) = length {
        let (body, behind) = rest.split_at_checked(length).expect("as much as Content-Length says");
        body.clone_into(&mut response.body);
        return behind;
    }
    if !chunked {
        assert!(response.closes(), "only the end of the connection ends this body");
        rest.clone_into(&mut response.body);
        response.ended = false;
        return "";
    }
    let mut rest = rest;
    response.ended = false;
    while !rest.is_empty() && !response.ended {
        let (size, behind) = rest.split_once("\r\n").expect("a chunk size");
        assert!(size.bytes().all(|byte| byte.is_ascii_hexdigit()), "chunk size {size:?}");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let (chunk, behind) = behind.split_at_checked(size).expect("a whole chunk");
        response.body.push_str(chunk);
        rest = behind.strip_prefix("\r\n").expect("a chunk ends with CRLF");
        response.ended = size == 0;
    }
    rest
}
