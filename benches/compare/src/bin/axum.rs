//! The hub with axum: `response::Sse` with its keep-alive, and a broadcast channel for each topic.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use mio_sse_compare::{Topics, listen};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};

/// The event itself travels, so that its data is looked through for line breaks once and not for each stream.
type Shared = Arc<Topics<Event>>;

async fn events(
    Path(topic): Path<String>,
    State(topics): State<Shared>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A stream that has lagged ends, and its client comes back.
    let events = topics.subscribe(topic).map_while(|event| event.ok().map(Ok));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn publish(Path(topic): Path<String>, State(topics): State<Shared>, data: String) -> StatusCode {
    topics.publish(&topic, Event::default().data(data));
    StatusCode::NO_CONTENT
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let app = Router::new()
        .route("/events/{topic}", get(events))
        .route("/publish/{topic}", post(publish))
        .with_state(Shared::default());
    axum::serve(TcpListener::from_std(listen("axum")?)?, app).await
}
