//! The hub with poem: `web::sse` with its keep-alive, and a broadcast channel for each topic.

use mio_sse_compare::{Topics, listen};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::sse::{Event, SSE};
use poem::web::{Data, Path};
use poem::{EndpointExt, Route, Server, get, handler, post};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt;

type Shared = Arc<Topics<Event>>;

#[handler]
fn events(Path(topic): Path<String>, Data(topics): Data<&Shared>) -> SSE {
    // A stream that has lagged is closed, and its client reconnects.
    let events = topics.subscribe(topic).map_while(|event| event.ok());
    SSE::new(events).keep_alive(Duration::from_secs(15))
}

#[handler]
fn publish(Path(topic): Path<String>, Data(topics): Data<&Shared>, data: String) -> StatusCode {
    topics.publish(&topic, Event::message(data));
    StatusCode::NO_CONTENT
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let app = Route::new()
        .at("/events/:topic", get(events))
        .at("/publish/:topic", post(publish))
        .data(Shared::default());
    Server::new_with_acceptor(TcpAcceptor::from_std(listen("poem")?)?).run(app).await
}
