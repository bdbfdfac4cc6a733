//! The hub with actix-web: `sse::Sse` of actix-web-lab with its keep-alive, and a broadcast channel for each
//! topic. One worker.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{App, HttpServer, Responder, get, post};
use actix_web_lab::sse;
use mio_sse_compare::{Topics, listen};
use std::io;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Cloning an event shares its data here.
type Shared = Topics<sse::Event>;

#[get("/events/{topic}")]
async fn events(topic: Path<String>, topics: Data<Shared>) -> impl Responder {
    // A stream that has lagged is closed, and its client reconnects.
    let events = topics.subscribe(topic.into_inner()).map_while(|event| event.ok());
    sse::Sse::from_infallible_stream(events).with_keep_alive(Duration::from_secs(15))
}

#[post("/publish/{topic}")]
async fn publish(topic: Path<String>, topics: Data<Shared>, data: String) -> impl Responder {
    topics.publish(&topic, sse::Data::new(data).into());
    ("", StatusCode::NO_CONTENT)
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let topics = Data::new(Shared::new());
    let app = move || App::new().app_data(topics.clone()).service(events).service(publish);
    HttpServer::new(app).workers(1).listen(listen("actix-web")?)?.run().await
}
