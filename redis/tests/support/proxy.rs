//! A bad network: a TCP port in front of a unix socket, which delays, tears, trickles and holds back.

use super::RedisServer;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a pump looks whether it is to do something else.
const LOOK: Duration = Duration::from_millis(10);

/// What becomes of what passes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Pass,
    /// All that was read together waits so long before it goes on.
    Delay(Duration),
    /// Every byte by itself.
    Trickle,
    /// Each connection is cut somewhere within so many bytes of replies.
    Cut(usize),
    /// Connections stay open, and new ones are accepted, but nothing goes on.
    Hold,
    /// Connections are closed before a byte has passed.
    Refuse,
}

struct Shared {
    mode: Mutex<Mode>,
    /// The unix socket that new connections go to.
    upstream: Mutex<PathBuf>,
    /// Connections of an earlier generation are closed.
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

    /// Closes all connections there are.
    pub(crate) fn cut(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// From now on it stands before `server`, also for who is connected: they are cut off.
    pub(crate) fn lead_to(&self, server: &RedisServer) {
        *self.shared.upstream.lock().unwrap() = server.socket();
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut();
        // So that it looks.
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
        // The generation first: who is cut off while connecting is cut off.
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

/// Passes on what comes until either side ends, or the connection is cut.
fn pump(shared: &Shared, generation: u64, from: &mut impl Read, to: &mut impl Write, is_reply: bool) {
    let mut buffer = vec![0; 64 << 10];
    // How many bytes until it is cut.
    let mut left = None;
    while shared.is_of(generation) {
        let count = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        while shared.mode() == Mode::Hold {
            if !shared.is_of(generation) {
                return;
            }
            thread::sleep(LOOK);
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

/// One byte after the other, as long as that is the mode.
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
