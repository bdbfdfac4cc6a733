//! TLS as clients of others speak it: they trust one root only, and what they are shown is issued by an
//! authority in between. Streams are read live, to an end that is one, and on from there.

mod openssl;

use crate::browser::firefox::Firefox;
use crate::browser::{self, Tab};
use crate::clients::fetched::{node, python};
use crate::clients::script::{Said, Script};
use crate::proxy::Curl;
use crate::support::{DEADLINE, Running, ms, scratch, serve_on};
use crate::wire::Wire;
use mio_sse::{Config, Context, Event, History, Listeners, Reply, Router, TlsConfig, TopicConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// curl's arguments for each version.
const VERSIONS: [&[&str]; 2] = [&["--tlsv1.2", "--tls-max", "1.2"], &["--tlsv1.3"]];

struct Secure {
    server: Running,
    /// A file with the root.
    root: &'static str,
    /// What pages say.
    said: Arc<Said>,
}

/// What the server shows, and a file with the root of it.
fn certificates() -> &'static (TlsConfig, PathBuf) {
    static MADE: OnceLock<(TlsConfig, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.use_authority_key_identifier_extension = true;
            params
        };
        let [root_key, between_key, key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let root = authority("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(authority("root"), &root_key);
        let between = authority("between").signed_by(&between_key, &root_issuer).unwrap();
        let between_issuer = Issuer::new(authority("between"), &between_key);
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        let own = params.signed_by(&key, &between_issuer).unwrap();

        let chain = own.pem() + &between.pem();
        let tls = TlsConfig::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let file = scratch("tls").join("root.pem");
        std::fs::write(&file, root.pem()).unwrap();
        (tls, file)
    })
}

fn serve() -> Secure {
    let mut app = browser::app();
    app.get("/page", |_request, _cx| Reply::text("a page\n"));
    app.get("/large", |_request, _cx| Reply::text("x".repeat(3 << 20)));
    app.post("/length", |request, _cx| Reply::text(format!("{} bytes\n", request.body().len())));
    app.get("/events", |_request, _cx| Reply::stream().topic("news").tag("all").retry(ms(20)));
    app.get("/read", |_request, _cx| Reply::html(include_str!("readers.html")));
    app.get("/readers.mjs", |_request, _cx| {
        Reply::bytes("text/javascript", include_bytes!("clients/readers.mjs").to_vec())
    });
    let said = Arc::<Said>::default();
    let hearer = said.clone();
    app.post("/said", move |request, _cx| {
        hearer.hear(request.body());
        Reply::text("")
    });
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(100));
    // A page says what it has read.
    config.body_bytes_max = 1 << 20;
    // For those who ask for it: browsers, fetch, and the packages of Python.
    config.gzip = Some(1);
    let (tls, root) = certificates();
    let server = serve_on(Listeners::new().tls("127.0.0.1:0", tls), app, config);
    Secure { server, root: root.to_str().unwrap(), said }
}

impl Secure {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.address)
    }

    fn publish(&self, data: &str) {
        self.server.publisher.publish("news", Event::new().data(data)).unwrap();
    }

    /// Ends all streams, and publishes something while nobody is there.
    fn end(&self, away: &'static str) {
        let end = move |cx: &mut Context<'_>| {
            assert!(cx.close_tagged("all") > 0);
            cx.publish("news", Event::new().data(away))
        };
        self.server.publisher.run(end).unwrap();
    }

    /// curl, which otherwise takes any certificate, and here the root's only.
    fn curl(&self, url: &str, arguments: &[&str]) -> Curl {
        Curl::get(url, &[&["--no-insecure", "--cacert", self.root], arguments].concat())
    }
}

fn secure_url(wire: &Wire, path: &str) -> String {
    wire.url(path).replacen("http:", "https:", 1)
}

#[test]
fn curl_reads_a_stream_live_and_to_its_end() {
    let secure = serve();
    for version in VERSIONS {
        let curl = secure.curl(&secure.url("/events"), version);
        let head = curl.head();
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        for data in ["one", "two", "three"] {
            secure.publish(data);
            curl.wait_for(&format!("data: {data}"));
        }
        secure.end("unread");
        assert!(curl.ends_cleanly(), "{version:?}");
    }
}

#[test]
fn curl_offers_http2_and_gets_1_1() {
    let secure = serve();
    for arguments in [&["--http2"], &["--http1.1"]] {
        let curl = secure.curl(&secure.url("/page"), arguments);
        assert_eq!(curl.head()[0], "http/1.1 200 ok");
        assert_eq!(curl.line(), "a page");
        assert!(curl.ends_cleanly());
    }
}

/// It offers nothing but HTTP/1.0, also by ALPN.
#[test]
fn curl_speaks_http_1_0() {
    let secure = serve();
    for version in VERSIONS {
        let curl = secure.curl(&secure.url("/events"), &[version, &["--http1.0"]].concat());
        let head = curl.head();
        assert!(!head.iter().any(|line| line.starts_with("transfer-encoding")), "{head:?}");
        secure.publish("one");
        curl.wait_for("data: one");
        secure.end("unread");
        assert!(curl.ends_cleanly(), "{version:?}");
    }
}

#[test]
fn curl_does_not_trust_others() {
    let secure = serve();
    let curl = Curl::get(&secure.url("/page"), &["--no-insecure"]);
    assert!(curl.line_within(DEADLINE).is_err());
    assert!(!curl.ends_cleanly());
}

/// What is longer than a record, both ways, and then another on the same connection.
#[test]
fn curl_sends_and_gets_much_on_one_connection() {
    let secure = serve();
    let (length, large) = (secure.url("/length"), secure.url("/large"));
    let body = "x".repeat(60_000);
    for version in VERSIONS {
        let more = ["--write-out", "%{num_connects} %{size_download}\\n", "--data", &body, &length, "--next"];
        let then = ["-sS", "--write-out", "\\n%{num_connects} %{size_download}\\n", "--cacert", secure.root];
        let curl = secure.curl(&large, &[version, &more, version, &then].concat());
        curl.head();
        assert_eq!(curl.line(), "60000 bytes");
        assert_eq!(curl.line(), "1 12", "{version:?}");
        assert_eq!(curl.line().len(), 3 << 20);
        assert_eq!(curl.line(), format!("0 {}", 3 << 20), "{version:?}: the same connection");
        assert!(curl.ends_cleanly());
    }
}

/// In TLS 1.3 a client learns only behind its handshake that it lacks a certificate.
#[test]
fn curl_shows_a_certificate_of_its_own() {
    let made = |names: &[String]| rcgen::generate_simple_self_signed(names).unwrap();
    let (own, other) = (made(&["localhost".to_owned(), "127.0.0.1".to_owned()]), made(&["other".to_owned()]));
    let directory = scratch("client-certificate");
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let root = write("own.pem", own.cert.pem());
    let key = write("own-key.pem", own.signing_key.serialize_pem());
    let other_key = write("other-key.pem", other.signing_key.serialize_pem());
    let other = write("other.pem", other.cert.pem());
    let tls = TlsConfig::builder().identity_files(&root, &key).client_certificates_file(&root, true);
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("a page\n"));
    let listeners = Listeners::new().tls("127.0.0.1:0", &tls.build().unwrap());
    let server = serve_on(listeners, app, Config::default());
    let url = format!("https://{}/page", server.address);
    for version in VERSIONS {
        let get = |arguments: &[&str]| {
            Curl::get(&url, &[version, &["--no-insecure", "--cacert", &root], arguments].concat())
        };
        let curl = get(&["--cert", &root, "--key", &key]);
        curl.head();
        assert_eq!(curl.line(), "a page");
        assert!(curl.ends_cleanly());
        for arguments in [&[][..], &["--cert", &other, "--key", &other_key]] {
            let curl = get(arguments);
            assert!(curl.line_within(DEADLINE).is_err());
            assert!(!curl.ends_cleanly(), "{version:?}");
        }
    }
    server.wait_for("nobody is there", |stats| stats.connections == 0);
}

/// Reads with a script.
fn script(
    command: impl Fn(&str, &[&str]) -> Vec<String>,
    file: &str,
    arguments: impl Fn(&str) -> Vec<String>,
) {
    let secure = serve();
    let wire = Wire::to(secure.server.address);
    let arguments = arguments(&secure_url(&wire, "/events"));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // What each of them calls the file with the roots to trust.
    let mut with_root = vec!["env".to_owned()];
    for name in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        with_root.push(format!("{name}={}", secure.root));
    }
    let script = Script::start(&[with_root, command(file, &arguments)].concat());
    check_reader(&secure, &wire, &script.said, arguments[0] == "eventsource");
}

/// A reader that says what it sees sees every event once and in order: live, over an end that is none to
/// worry about, and over a cut.
fn check_reader(secure: &Secure, wire: &Wire, said: &Said, is_event_source: bool) {
    let large = "x".repeat(100_000);
    let mut expected = vec!["one", "two", &large, "three"];
    wait_for(said, "open", 1);
    for (count, data) in expected.iter().enumerate() {
        secure.publish(data);
        wait_for(said, "event", count + 1);
    }

    let errors = said_of(said, "error").len();
    secure.end("away");
    expected.push("away");
    wait_for(said, "open", 2);
    // To an EventSource an end is an error.
    let ends = [said_of(said, "error").len() - errors, said_of(said, "end").len()];
    assert_eq!(ends, if is_event_source { [1, 0] } else { [0, 1] }, "errors and ends");
    wait_for(said, "event", expected.len());

    let errors = said_of(said, "error").len();
    wire.cut();
    secure.publish("cut");
    expected.push("cut");
    wait_for(said, "error", errors + 1);
    wire.mend();
    wait_for(said, "open", 3);
    wait_for(said, "event", expected.len());
    secure.publish("last");
    expected.push("last");
    wait_for(said, "event", expected.len());
    // Not by `assert_eq`: the large one would be no message to read.
    let wrong = said_of(said, "event").into_iter().zip(&expected).position(|(seen, sent)| seen != *sent);
    assert_eq!((said_of(said, "event").len(), wrong), (expected.len(), None));
    assert_eq!(wire.heads(), [""; 0], "nothing goes over the wire in plain text");
}

/// What was said of something so far.
fn said_of(said: &Said, what: &str) -> Vec<String> {
    let lines = said.wait_for("", |_| true);
    let of = lines.iter().filter(|line| line[1] == what);
    of.map(|line| line[2].as_str().unwrap().to_owned()).collect()
}

fn wait_for(said: &Said, what: &str, times: usize) {
    said.wait_for(what, |lines| lines.iter().filter(|line| line[1] == what).count() >= times);
}

fn kind(kind: &str) -> impl Fn(&str) -> Vec<String> {
    move |url| [kind, url, "[0]"].map(str::to_owned).to_vec()
}

#[test]
fn node_reads_with_https() {
    let root = certificates().1.to_str().unwrap();
    script(node, "read_https.mjs", |url| vec![url.to_owned(), root.to_owned()]);
}

#[test]
fn node_reads_with_fetch() {
    script(node, "read_all.mjs", kind("fetch"));
}

#[test]
fn npm_eventsource_reads() {
    script(node, "read_all.mjs", kind("eventsource"));
}

#[test]
fn python_reads_with_http_client() {
    script(python, "read_all.py", kind("http.client"));
}

#[test]
fn requests_reads() {
    script(python, "read_all.py", kind("requests"));
}

#[test]
fn httpx_reads() {
    script(python, "read_all.py", kind("httpx"));
}

#[test]
fn aiohttp_reads() {
    script(python, "read_all.py", kind("aiohttp"));
}

#[test]
fn firefox_reads_and_comes_back() {
    let secure = serve();
    let wire = Wire::to(secure.server.address);
    // What it says does not go over the wire, which is cut.
    let query = format!("/read?kind=eventsource&joins=[0]&to={}", secure.url("/said"));
    let root = &certificates().1;
    let _firefox = Firefox::open_trusting(root, "tls", &secure_url(&wire, &query));
    check_reader(&secure, &wire, &secure.said, true);
}

#[test]
fn chromium_reads_and_comes_back() {
    let secure = serve();
    let wire = Wire::to(secure.server.address);
    let tab = Tab::blank();
    tab.call("Security.setIgnoreCertificateErrors", &json!({ "ignore": true }));
    tab.go(&secure_url(&wire, "/"));
    assert_eq!(tab.run("performance.getEntriesByType('navigation')[0].nextHopProtocol"), "http/1.1");
    assert_eq!(tab.run("isSecureContext"), true);
    tab.run("var events = listen('/events')");
    tab.wait_for("events.source.readyState == 1");
    let mut expected = Vec::new();
    for data in ["one", "two", "three"] {
        secure.publish(data);
        expected.push(data);
        tab.wait_for(&format!("events.data().length == {}", expected.len()));
    }
    secure.end("away");
    expected.push("away");
    tab.wait_for("events.seen.filter(([name]) => name == 'open').length == 2");
    tab.wait_for(&format!("events.data().length == {}", expected.len()));
    assert_eq!(tab.errors(), [""; 0]);

    wire.cut();
    secure.publish("cut");
    expected.push("cut");
    tab.wait_for("events.seen.filter(([name]) => name == 'error').length >= 2");
    wire.mend();
    tab.wait_for(&format!("events.data().length == {}", expected.len()));
    assert_eq!(tab.run("events.data()"), json!(expected));

    let told = tab.events("Network.responseReceived");
    let responses: Vec<_> = told.iter().map(|event| &event["response"]).collect();
    let streams = responses.iter().filter(|response| response["mimeType"] == "text/event-stream");
    let told = |response: &&Value| {
        (response["securityDetails"]["protocol"].clone(), response["headers"]["Content-Encoding"].clone())
    };
    let streams: Vec<_> = streams.map(told).collect();
    assert_eq!(streams, vec![("TLS 1.3".into(), "gzip".into()); 3]);
}
