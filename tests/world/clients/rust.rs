//! LaunchDarkly's `eventsource-client` in Rust, which reconnects by itself.

use super::{assert_counts, assert_seen, server};
use crate::payloads::{self, END, Seen};
use crate::support::{DEADLINE, ms};
use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::StreamExt;

/// Reads up to the last event.
fn read(url: &str) -> Vec<Seen> {
    let reconnect = ReconnectOptions::reconnect(true).delay(ms(1)).build();
    let client = ClientBuilder::for_url(url).unwrap().reconnect(reconnect).build_http();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let reading = async {
            let mut stream = client.stream();
            let mut seen = Vec::new();
            loop {
                match stream.next().await.expect("no end before the last event") {
                    Ok(SSE::Event(event)) => {
                        let id = event.id.unwrap_or_default();
                        seen.push(Seen { event: event.event_type, data: event.data, id });
                        if seen.last().is_some_and(|seen| seen.event == END) {
                            return seen;
                        }
                    }
                    // The end of a stream is an error after which it continues.
                    Ok(SSE::Connected(_) | SSE::Comment(_)) | Err(Error::Eof) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.expect("the last event in time")
    })
}

#[test]
fn eventsource_client_reads_everything() {
    let (server, _) = server();
    assert_seen(&read(&server.url("/payloads")), &payloads::expected());
}

#[test]
fn eventsource_client_reconnects() {
    let (server, asked) = server();
    assert_counts(&read(&server.url("/counts")), &asked);
}
