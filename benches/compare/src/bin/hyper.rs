//! The hub with bare hyper: a channel for each stream, each event encoded once, and one timer for all
//! heartbeats.

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mio_sse_compare::{CAPACITY, listen};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;
/// There is one thread, so no lock is needed.
type Shared = Rc<RefCell<HashMap<String, Vec<Sender<Bytes>>>>>;

/// Removes streams that have disconnected. One that has lagged is closed, and its client reconnects.
fn send(streams: &mut Vec<Sender<Bytes>>, bytes: &Bytes) {
    streams.retain_mut(|stream| stream.try_send(Frame::data(bytes.clone())).is_ok());
}

fn encode(data: &str) -> Bytes {
    let lines = data.replace("\r\n", "\n");
    let mut event: String = lines.split(['\r', '\n']).map(|line| format!("data: {line}\n")).collect();
    event.push('\n');
    event.into()
}

async fn serve(topics: Shared, request: Request<Incoming>) -> hyper::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let path: Vec<&str> = head.uri.path().split('/').collect();
    let mut response = Response::new(Body::default());
    match (&head.method, &path[..]) {
        (&Method::GET, ["", "events", topic]) => {
            let (sender, body) = Channel::new(CAPACITY);
            topics.borrow_mut().entry((*topic).to_owned()).or_default().push(sender);
            *response.body_mut() = body.boxed_unsync();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        (&Method::POST, ["", "publish", topic]) => {
            let data = body.collect().await?.to_bytes();
            *response.status_mut() = match str::from_utf8(&data) {
                Ok(data) => {
                    if let Some(streams) = topics.borrow_mut().get_mut(*topic) {
                        send(streams, &encode(data));
                    }
                    StatusCode::NO_CONTENT
                }
                Err(_) => StatusCode::BAD_REQUEST,
            };
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

async fn heartbeats(topics: Shared) {
    let mut timer = tokio::time::interval(Duration::from_secs(15));
    loop {
        timer.tick().await;
        for streams in topics.borrow_mut().values_mut() {
            send(streams, &Bytes::from_static(b":\n\n"));
        }
    }
}

async fn accept() -> io::Result<()> {
    let listener = TcpListener::from_std(listen("hyper")?)?;
    let topics = Shared::default();
    tokio::task::spawn_local(heartbeats(Rc::clone(&topics)));
    loop {
        let (socket, _) = listener.accept().await?;
        let topics = Rc::clone(&topics);
        let service = service_fn(move |request| serve(Rc::clone(&topics), request));
        // A client that disconnects is not an error of the server.
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    LocalSet::new().run_until(accept()).await
}
