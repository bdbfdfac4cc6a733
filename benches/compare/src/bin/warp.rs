//! The hub with warp: `sse::reply` with its keep-alive, and a broadcast channel for each topic.

use mio_sse_compare::{Topics, listen};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use warp::Filter;
use warp::http::StatusCode;
use warp::sse::Event;

/// An event cannot be cloned here, so the channel carries the data, which is in memory once.
type Shared = Arc<Topics<Arc<str>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let topics = Shared::default();
    let topics = warp::any().map(move || Arc::clone(&topics));

    let events =
        warp::path!("events" / String).and(warp::get()).and(topics.clone()).map(|topic, topics: Shared| {
            // A stream that has lagged is closed, and its client reconnects.
            let events = topics.subscribe(topic).map_while(|data| data.ok());
            let events = events.map(|data| Ok::<_, Infallible>(Event::default().data(&*data)));
            warp::sse::reply(warp::sse::keep_alive().stream(events))
        });

    // `body::bytes` needs no headers, unlike the filters for forms and JSON.
    let publish = warp::path!("publish" / String).and(warp::post()).and(topics).and(warp::body::bytes()).map(
        |topic: String, topics: Shared, data: warp::hyper::body::Bytes| match str::from_utf8(&data) {
            Ok(data) => {
                topics.publish(&topic, data.into());
                StatusCode::NO_CONTENT
            }
            Err(_) => StatusCode::BAD_REQUEST,
        },
    );

    let listener = TcpListener::from_std(listen("warp")?)?;
    warp::serve(events.or(publish)).incoming(listener).run().await;
    Ok(())
}
