//! A wire between clients and a server that can be cut: connections through it end by a reset, as they do
//! when somebody pulls a plug, and nobody comes through until it is mended.

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
    /// Both halves of the connection end by a reset as soon as nobody holds them any more, which is at once:
    /// whoever reads from them is woken. Towards the client nothing is shut down, as that would be an end in
    /// good order.
    fn reset(&self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Passes on what comes until it ends, in good order or not, and shows it before.
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
    /// A wire to a server, which need not be there yet.
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

    /// Resets every connection, and from now on everyone who comes.
    pub(crate) fn cut(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.cut = true;
        state.links.drain(..).for_each(|link| link.reset());
    }

    /// Ends every connection without a word more, in good order as far as TCP knows.
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

    /// Resets one of the connections, if there is any, and lets it come back at once.
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
    /// Keeps the head of a reply, which the server sends at once.
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
        // Nothing is to wait for more to come.
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
