//! Shared by the hubs in Rust: the listener and the topics.

use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events that a stream may lag: many times what the harness publishes before it waits.
pub const CAPACITY: usize = 1024;

/// Listens on `PORT` of 127.0.0.1, and prints the address. Accepted sockets inherit `TCP_NODELAY`, and the
/// backlog is long enough.
pub fn listen(name: &str) -> io::Result<TcpListener> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    println!("{name}: http://{}", listener.local_addr()?);
    Ok(listener)
}

/// A channel for each topic, as in tokio's and axum's own examples.
#[derive(Debug)]
pub struct Topics<T>(Mutex<HashMap<String, broadcast::Sender<T>>>);

impl<T: Clone + Send + 'static> Topics<T> {
    pub fn new() -> Topics<T> {
        Topics(Mutex::new(HashMap::new()))
    }

    pub fn subscribe(&self, topic: String) -> BroadcastStream<T> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = topics.entry(topic).or_insert_with(|| broadcast::channel(CAPACITY).0);
        BroadcastStream::new(sender.subscribe())
    }

    pub fn publish(&self, topic: &str, event: T) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(topic) {
            // A topic without streams is not an error.
            let _ = sender.send(event);
        }
    }
}

impl<T: Clone + Send + 'static> Default for Topics<T> {
    fn default() -> Topics<T> {
        Topics::new()
    }
}
