//! What goes wrong without the settings of `configurations.md`, and the limits that it mentions.

use super::Curl;
use super::nginx::replace;
use super::others::{APACHE, CADDY, HAPROXY, Kind, LIGHTTPD, Other, VARNISH};
use super::through::{app, publish, silent};
use crate::support::{DEADLINE, Running, eventually, ms, now, serve_with};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

fn without(line: &'static str) -> impl Fn(&str) -> String {
    move |text| replace(text, line, "")
}

/// HAProxy tells the kernel that more data will follow, and the kernel waits 200 ms for it.
#[test]
fn haproxy_is_late_without_no_delay() {
    let server = serve_with(app(), silent());
    let proxy = HAPROXY.with(server.address, without("    option http-no-delay\n"));
    let curl = Curl::get(&proxy.url("/events/news"), &[]);
    curl.wait_for("data: none|127.0.0.1");
    for count in 0..5 {
        let begin = now();
        publish(&server, "news", &count.to_string());
        curl.wait_for(&format!("data: {count}"));
        assert!(begin.elapsed() > ms(100), "{:?}", begin.elapsed());
    }
}

#[test]
fn lighttpd_buffers_the_whole_response_without_stream_response_body() {
    let server = serve_with(app(), silent());
    let proxy = LIGHTTPD.with(server.address, without("server.stream-response-body = 2\n"));
    let curl = Curl::get(&proxy.url("/events/news"), &[]);
    server.wait_for("the stream opens", |stats| stats.streams == 1);
    publish(&server, "news", "late");
    assert!(curl.line_within(ms(500)).is_err(), "not even a head");
    server.publisher.close_tagged("all").unwrap();
    curl.wait_for("data: late");
}

/// After its client has left, the stream stays open until something is written to it.
fn only_a_write_tells(kind: &Kind, change: impl Fn(&str) -> String) {
    let server = serve_with(app(), silent());
    let proxy = kind.with(server.address, change);
    let curl = Curl::get(&proxy.url("/events/news"), &[]);
    curl.head();
    server.wait_for("the stream opens", |stats| stats.streams == 1);
    drop(curl);
    stay(&server, 1);
    let mut writes = 0;
    eventually("the stream ends", || {
        publish(&server, "news", "for nobody");
        writes += 1;
        std::thread::sleep(ms(50));
        if server.stats().streams == 0 { Ok(()) } else { Err(format!("{writes} writes")) }
    });
}

#[test]
fn haproxy_does_not_watch_clients_without_abortonclose() {
    only_a_write_tells(&HAPROXY, without("    option abortonclose\n"));
}

#[test]
fn lighttpd_does_not_watch_clients_without_tcp_fin_propagate() {
    only_a_write_tells(&LIGHTTPD, without("    \"tcp-fin-propagate\" => \"enable\",\n"));
}

#[test]
fn varnish_does_not_watch_clients_without_pipe() {
    only_a_write_tells(&VARNISH, |text| replace(text, "return (pipe);", "return (pass);"));
}

#[test]
fn apache_never_watches_clients() {
    only_a_write_tells(&APACHE, str::to_owned);
}

/// `flush_interval -1` is often recommended for event streams, which do not need it.
#[test]
fn caddy_does_not_watch_clients_with_a_flush_interval() {
    only_a_write_tells(&CADDY, |text| {
        let told = "reverse_proxy 127.0.0.1:8080 {\nflush_interval -1\n}\n";
        replace(text, "reverse_proxy 127.0.0.1:8080\n", told)
    });
}

/// Asks for so many streams over one connection. Returns it, and the number of streams that the proxy
/// announces to take.
fn ask_over_http2(address: SocketAddr, streams: u32) -> (TcpStream, Option<u32>) {
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let head =
            [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [&*head, payload].concat()
    }
    let (settings, headers, end_of_request) = (4, 1, 0x5);
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(settings, 0, 0, &[]));
    // HPACK: GET and http from the static table, path and authority as literals.
    let block = [&[0x82, 0x86, 0x04, 12], &b"/events/news"[..], &[0x01, 9], b"127.0.0.1"].concat();
    for count in 0..streams {
        request.extend(frame(headers, end_of_request, count * 2 + 1, &block));
    }
    connection.write_all(&request).unwrap();

    let mut head = [0; 9];
    connection.read_exact(&mut head).unwrap();
    assert_eq!(head[3], settings, "{head:?}");
    let mut values = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    connection.read_exact(&mut values).unwrap();
    let streams_max = values.chunks(6).find(|value| value[..2] == [0, 3]);
    (connection, streams_max.map(|value| u32::from_be_bytes(value[2..].try_into().unwrap())))
}

/// Asks for twenty streams over one HTTP/2 connection: so many reach the server.
fn streams_get_through(kind: &Kind, change: impl Fn(&str) -> String, announced: u32, wanted: u64) -> Through {
    let server = serve_with(app(), silent());
    let proxy = kind.with(server.address, change);
    let (connection, streams_max) = ask_over_http2(proxy.address, 20);
    assert_eq!(streams_max, Some(announced), "{}", kind.name);
    let through = Through { _connection: connection, _proxy: proxy, server };
    stay(&through.server, wanted);
    through
}

struct Through {
    _connection: TcpStream,
    _proxy: Other,
    server: Running,
}

/// Waits until so many streams are open, and sees that it stays so many.
fn stay(server: &Running, wanted: u64) {
    server.wait_for("so many streams", |stats| stats.streams == wanted);
    let begin = now();
    while begin.elapsed() < ms(1000) {
        assert_eq!(server.stats().streams, wanted);
        std::thread::sleep(ms(20));
    }
}

#[test]
fn haproxy_and_caddy_have_many_streams_in_one_http2_connection() {
    streams_get_through(&HAPROXY, str::to_owned, 100, 20);
    streams_get_through(&CADDY, str::to_owned, 250, 20);
}

/// It announces the limit, so a browser lets the ninth wait.
#[test]
fn lighttpd_has_eight_streams_in_one_http2_connection() {
    streams_get_through(&LIGHTTPD, str::to_owned, 8, 8);
}

/// It announces a hundred, so a browser does not know that the seventh waits. The limit doubles after streams
/// have ended.
#[test]
fn apache_has_six_streams_in_one_http2_connection() {
    let http2 = |text: &str| format!("Protocols h2c http/1.1\n{text}");
    let through = streams_get_through(&APACHE, http2, 100, 6);
    through.server.publisher.close_tagged("all").unwrap();
    stay(&through.server, 12);
}

#[test]
fn apache_takes_a_thread_for_each_stream() {
    let server = serve_with(app(), silent());
    let three = |text: &str| format!("ServerLimit 1\nThreadsPerChild 3\nMaxRequestWorkers 3\n{text}");
    let proxy = APACHE.with(server.address, three);
    let _clients = [(); 5].map(|()| Curl::get(&proxy.url("/events/news"), &[]));
    stay(&server, 3);
}
