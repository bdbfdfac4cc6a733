//! The hub with salvo: `sse` with its keep-alive, and a broadcast channel for each topic.

use mio_sse_compare::{Topics, listen};
use salvo::affix_state;
use salvo::conn::tcp::TcpAcceptor;
use salvo::prelude::*;
use salvo::sse::{SseEvent, SseKeepAlive};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio_stream::StreamExt;

type Shared = Arc<Topics<SseEvent>>;

/// Both routes have a topic and the topics, so neither error is possible.
fn context(request: &Request, depot: &Depot) -> Result<(String, Shared), StatusError> {
    let topics = depot.get_typed::<Shared>().ok().cloned();
    request.param("topic").zip(topics).ok_or_else(StatusError::internal_server_error)
}

#[handler]
async fn events(
    request: &mut Request,
    depot: &mut Depot,
    response: &mut Response,
) -> Result<(), StatusError> {
    let (topic, topics) = context(request, depot)?;
    // A stream that has lagged is closed, and its client reconnects.
    let stream = topics.subscribe(topic).map_while(|event| event.ok().map(Ok::<_, Infallible>));
    SseKeepAlive::new(stream).stream(response);
    Ok(())
}

#[handler]
async fn publish(request: &mut Request, depot: &mut Depot) -> Result<StatusCode, StatusError> {
    let (topic, topics) = context(request, depot)?;
    let data = request.payload().await.map_err(|_| StatusError::bad_request())?;
    let data = str::from_utf8(data).map_err(|_| StatusError::bad_request())?;
    topics.publish(&topic, SseEvent::default().text(data));
    Ok(StatusCode::NO_CONTENT)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let app = Router::new()
        .hoop(affix_state::inject(Shared::default()))
        .push(Router::with_path("events/{topic}").get(events))
        .push(Router::with_path("publish/{topic}").post(publish));
    let listener = tokio::net::TcpListener::from_std(listen("salvo")?)?;
    Server::new(TcpAcceptor::try_from(listener)?).try_serve(app).await
}
