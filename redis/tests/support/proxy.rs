//! A bad network: a TCP port in front of a unix socket, which delays, splits, trickles, holds and cuts.

use super::RedisServer;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Period with which a pump looks for a new mode.
const LOOK: Duration = Duration::from_millis(10);

/// What happens to the bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Pass,
    /// Bytes that were read together are held back for this long.
    Delay(Duration),
    /// One byte at a time.
    Trickle,
    /// Each connection is cut somewhere within this many bytes of replies.
    Cut(usize),
    /// Connections stay open, and new ones are accepted, but no bytes pass.
    Hold,
    /// Requests pass, replies do not.
    HoldReplies,
    /// Connections are closed before a byte has passed.
    Refuse,
}

struct Shared {
    mode: Mutex<Mode>,
    /// The unix socket to which new connections go.
    upstream: Mutex<PathBuf>,
    /// Connections of older generations are closed.
    generation: AtomicU64,
    stopped: AtomicBool,
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn is_of(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }
}

pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn before(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            upstream: Mutex::new(server.socket()),
            generation: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on leads to `server`. Existing connections are cut.
    pub(crate) fn lead_to(&self, server: &RedisServer) {
        *self.shared.upstream.lock().unwrap() = server.socket();
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut();
        // This wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        // The generation is read first, so that a connection that is being opened is cut as well.
        let generation = shared.generation.load(Ordering::SeqCst);
        let Ok(client) = client else { continue };
        if shared.mode() == Mode::Refuse {
            continue;
        }
        let upstream = shared.upstream.lock().unwrap().clone();
        let Ok(server) = UnixStream::connect(upstream) else { continue };
        let _ = client.set_nodelay(true);
        let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { continue };
        let requests = (shared.clone(), client, server);
        thread::spawn(move || {
            let (shared, mut client, mut server) = requests;
            let _ = client.set_read_timeout(Some(LOOK));
            pump(&shared, generation, &mut client, &mut server, false);
            close(&client, &server);
        });
        let replies = (shared.clone(), server_too, client_too);
        thread::spawn(move || {
            let (shared, mut server, mut client) = replies;
            let _ = server.set_read_timeout(Some(LOOK));
            pump(&shared, generation, &mut server, &mut client, true);
            close(&client, &server);
        });
    }
}

fn close(client: &TcpStream, server: &UnixStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// Passes bytes on until either side closes, or the connection is cut.
fn pump(shared: &Shared, generation: u64, from: &mut impl Read, to: &mut impl Write, is_reply: bool) {
    let mut buffer = vec![0; 64 << 10];
    // Number of bytes until the cut.
    let mut left = None;
    while shared.is_of(generation) {
        let count = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        let is_held = |mode| mode == Mode::Hold || is_reply && mode == Mode::HoldReplies;
        while is_held(shared.mode()) && shared.is_of(generation) {
            thread::sleep(LOOK);
        }
        if !shared.is_of(generation) {
            return;
        }
        let bytes = &buffer[..count];
        let passed = match shared.mode() {
            Mode::Refuse => return,
            Mode::Cut(max) if is_reply => {
                let rest = left.unwrap_or_else(|| fastrand::usize(1..=max));
                if rest < count {
                    let _ = to.write_all(&bytes[..rest]);
                    return;
                }
                left = Some(rest - count);
                to.write_all(bytes)
            }
            Mode::Trickle => trickle(shared, bytes, to),
            Mode::Delay(delay) => {
                thread::sleep(delay);
                to.write_all(bytes)
            }
            _ => to.write_all(bytes),
        };
        if passed.is_err() {
            return;
        }
    }
}

/// Passes one byte at a time while that is the mode.
fn trickle(shared: &Shared, bytes: &[u8], to: &mut impl Write) -> Result<()> {
    for (index, byte) in bytes.iter().enumerate() {
        if shared.mode() != Mode::Trickle {
            return to.write_all(&bytes[index..]);
        }
        to.write_all(&[*byte])?;
        thread::sleep(Duration::from_micros(20));
    }
    Ok(())
}
