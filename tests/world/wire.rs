//! A wire between clients and a server that can be cut: connections through it are reset, as by a pulled
//! plug, and no new ones pass until it is mended.

use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: bool,
    gone: bool,
    links: Vec<Arc<Link>>,
    heads: Vec<String>,
}

/// A connection through the wire.
struct Link {
    client: TcpStream,
    server: TcpStream,
    over: AtomicBool,
}

impl Link {
    /// Both halves of the connection are reset as soon as no thread uses them, which is at once: reading
    /// threads are woken. Nothing is shut down towards the client, as that would be a clean end.
    fn reset(&self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Passes input on until it ends, cleanly or not, and calls `show` before.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, mut show: impl FnMut(&[u8])) {
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            show(&buffer[..count]);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        if !self.over.swap(true, Ordering::SeqCst) {
            let _ = self.client.shutdown(Shutdown::Both);
            let _ = self.server.shutdown(Shutdown::Both);
        }
    }
}

impl Wire {
    /// A wire to a server, which need not run yet.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { server, state: Mutex::default() });
        let accepting = shared.clone();
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.state.lock().unwrap().gone {
                    return;
                }
                accepting.connect(client);
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Resets every connection, and every new one from now on.
    pub(crate) fn cut(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.cut = true;
        state.links.drain(..).for_each(|link| link.reset());
    }

    /// Ends every connection without further bytes, cleanly as far as TCP knows.
    pub(crate) fn end(&self) {
        for link in self.shared.state.lock().unwrap().links.drain(..) {
            link.over.store(true, Ordering::SeqCst);
            let _ = link.client.shutdown(Shutdown::Both);
            let _ = link.server.shutdown(Shutdown::Both);
        }
    }

    /// Lets clients through again.
    pub(crate) fn mend(&self) {
        self.shared.state.lock().unwrap().cut = false;
    }

    /// The heads of the server's replies so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().heads.clone()
    }

    /// Resets one of the connections, if there is any, and lets its client reconnect at once.
    pub(crate) fn cut_one(&self, choose: impl FnOnce(usize) -> usize) -> bool {
        let mut state = self.shared.state.lock().unwrap();
        state.links.retain(|link| !link.over.load(Ordering::SeqCst));
        if state.links.is_empty() {
            return false;
        }
        let chosen = choose(state.links.len());
        state.links.swap_remove(chosen).reset();
        true
    }
}

impl Shared {
    /// Records the head of a reply, which the server sends at once.
    fn keep_head(&self, bytes: &[u8]) {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(end) = end.filter(|_| bytes.starts_with(b"HTTP/")) {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            self.state.lock().unwrap().heads.push(head);
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state.lock().unwrap();
        let server = if state.cut { None } else { TcpStream::connect(self.server).ok() };
        let Some(server) = server else {
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        // Bytes must not wait for more.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let link = Arc::new(Link { client, server, over: AtomicBool::new(false) });
        state.links.retain(|link| !link.over.load(Ordering::SeqCst));
        state.links.push(link.clone());
        let (other, shared) = (link.clone(), self.clone());
        std::thread::spawn(move || link.pass(&link.client, &link.server, |_| ()));
        std::thread::spawn(move || other.pass(&other.server, &other.client, |bytes| shared.keep_head(bytes)));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().gone = true;
        self.cut();
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}
