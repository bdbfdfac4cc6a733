//! The hub with axum: `response::Sse` with its keep-alive, and a broadcast channel for each topic. With
//! `CERTIFICATES` and `KEY`, files in PEM, it serves TLS with tokio-rustls.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use mio_sse_compare::{Topics, listen};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_stream::{Stream, StreamExt};

/// The channel carries the event itself, so its data is searched for line breaks once, not for each stream.
type Shared = Arc<Topics<Event>>;

async fn events(
    Path(topic): Path<String>,
    State(topics): State<Shared>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A stream that has lagged is closed, and its client reconnects.
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
    let listener = TcpListener::from_std(listen("axum")?)?;
    match (std::env::var("CERTIFICATES"), std::env::var("KEY")) {
        (Ok(certificates), Ok(key)) => serve_tls(listener, app, acceptor(&certificates, &key)?).await,
        _ => axum::serve(listener, app).await,
    }
}

fn acceptor(certificates: &str, key: &str) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    Ok(Arc::new(config).into())
}

async fn serve_tls(listener: TcpListener, app: Router, acceptor: TlsAcceptor) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            // A peer that has disconnected is not an error.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
