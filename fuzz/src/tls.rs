//! TLS: clients whose records the input cuts, withholds, damages, repeats, puts in another order, or replaces
//! by garbage and plain HTTP, at any time, several at once, with TLS 1.2 and 1.3.
//!
//! Keys differ from run to run; all that is random has the same length, and no check depends on more.

mod client;

use self::client::{Client, Kind};
use super::memory_net::{Loop, MemoryNet};
use mio_sse::net::TlsNet;
use mio_sse::{CloseReason, Config, Context, Event, Handler, Reply, Request, StreamId, TlsConfig};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use std::time::Duration;

const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// What somebody says who does not know that this is TLS.
const PLAIN: &[u8] = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n";

/// Handshakes in one turn, as ARCHITECTURE.md has it.
const HANDSHAKES_PER_TURN: usize = 4;

/// More turns than any of these inputs needs without time passing.
const TURNS_MAX: usize = 500;

/// What a handshake may leave waiting in the server, and a record.
const WAITING_BYTES_MAX: usize = 24 << 10;

/// Handshakes take time, and so does what is published to all.
const CLIENTS_MAX: usize = 40;
const COMMANDS_MAX: usize = 300;
const PUBLISHED_BYTES_MAX: usize = 900_000;

/// The first byte says how the server and the network are. The others are commands, some of which have an
/// argument: see [`Run::command`].
pub fn check(data: &[u8]) {
    let Some((&how, commands)) = data.split_first() else { return };
    if how & 1 == 0 { run::<true>(how >> 1, commands) } else { run::<false>(how >> 1, commands) }
}

fn run<const SHORT: bool>(how: u8, commands: &[u8]) {
    let mut run = Run::<SHORT>::new(how & 1 != 0, how & 2 != 0);
    let mut rest = commands;
    for _ in 0..COMMANDS_MAX {
        if !run.command(&mut rest) {
            break;
        }
    }
    run.finish();
}

struct Run<const SHORT: bool> {
    world: Loop<App, SHORT, TlsNet<MemoryNet<SHORT>>>,
    tls: TlsConfig,
    clients: Vec<Client>,
    /// For [`VERSIONS`].
    configs: [Arc<ClientConfig>; 2],
    /// Whose turn it is.
    at: usize,
    half_closed: bool,
    time_has_passed: bool,
    published_bytes: usize,
}

impl<const SHORT: bool> Run<SHORT> {
    fn new(half_closed: bool, resumes: bool) -> Self {
        let tls = server_config();
        let mut config = Config::default();
        config.half_closed = half_closed;
        let world = Loop::over(App::default(), config, |net| TlsNet::for_all(net, tls.clone()));
        let configs = VERSIONS.map(|version| Arc::new(client_config(version, resumes)));
        let clients = Vec::new();
        let (at, time_has_passed, published_bytes) = (0, false, 0);
        Self { world, tls, clients, configs, at, half_closed, time_has_passed, published_bytes }
    }

    fn connect(&mut self, kind: Kind) {
        if self.clients.len() < CLIENTS_MAX {
            let config = &self.configs[usize::from(kind == Kind::Tls12)];
            self.clients.push(Client::new(self.world.connect(), kind, config));
            self.at = self.clients.len() - 1;
        }
    }

    /// Does what the next bytes say. Returns whether there were any.
    fn command(&mut self, rest: &mut &[u8]) -> bool {
        let Some(command) = take(rest) else { return false };
        let mut argument = || usize::from(take(rest).unwrap_or_default().wrapping_sub(b'0'));
        match b'a' + command.wrapping_sub(b'a') % 26 {
            b'n' => match argument() % 3 {
                0 => self.connect(Kind::Tls13),
                1 => self.connect(Kind::Tls12),
                _ => self.connect(Kind::Plain),
            },
            b'o' => self.tls.reload(&server_config()),
            // Many at once.
            b'f' => {
                for number in 0..=argument() % 16 {
                    self.connect(if number % 2 == 0 { Kind::Tls13 } else { Kind::Tls12 });
                    self.clients[self.at].send(usize::MAX);
                }
            }
            b't' => self.turn(),
            b'z' => self.settle(),
            b'm' => self.pass(Duration::from_secs(argument() as u64)),
            b'e' => self.publish(argument() * 64),
            b'w' => self.at = argument() % self.clients.len().max(1),
            command => {
                let at = self.at;
                let Some(client) = self.clients.get_mut(at) else { return true };
                match command {
                    b'a' => client.ask(at, argument()),
                    b's' => client.send(usize::MAX),
                    b'p' => client.send(argument() + 1),
                    b'r' => client.read(usize::MAX),
                    b'c' => client.read(argument() + 1),
                    b'l' => client.peer.set_room(argument() * 16),
                    b'k' => client.update_keys(),
                    b'y' => client.say_goodbye(),
                    b'q' => client.leave(false),
                    b'j' => client.leave(true),
                    b'd' => client.damage(argument()),
                    b'b' => client.lose(argument()),
                    b'x' => client.swap(argument()),
                    b'u' => client.repeat(argument()),
                    b'v' => client.forge(argument(), argument()),
                    b'i' => client.damage_incoming(argument()),
                    b'g' => {
                        let count = argument().min(rest.len());
                        client.insert(&rest[..count]);
                        *rest = &rest[count..];
                    }
                    // h
                    _ => client.insert(PLAIN),
                }
            }
        }
        true
    }

    fn publish(&mut self, size: usize) {
        self.published_bytes += size;
        if self.published_bytes < PUBLISHED_BYTES_MAX {
            let number = self.world.server.handler().published.len();
            let text = format!("{number} {}", "x".repeat(size));
            self.world.server.context().publish("all", Event::new().data(&*text)).expect("valid data");
            self.world.server.handler().published.push(text);
        }
    }

    fn turn(&mut self) {
        self.world.turn();
        let mut begun = 0;
        for client in &mut self.clients {
            begun += usize::from(client.hears_for_the_first_time());
        }
        assert!(begun <= HANDSHAKES_PER_TURN, "{begun} handshakes in one turn");
        let there = self.clients.iter().filter(|client| !client.peer.is_closed());
        let most: usize = there.map(|client| 2 * (client.sent_bytes + WAITING_BYTES_MAX)).sum();
        let held = self.world.server.stats().memory.network;
        assert!(held <= most, "{held} bytes are held for what {most} are enough for");
    }

    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.world.rests() {
                return;
            }
        }
        panic!("the loop does not come to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.settle();
        self.world.pass(time);
        self.time_has_passed |= !time.is_zero();
        for client in &mut self.clients {
            client.hears_for_the_first_time();
        }
    }

    /// Everything that waits arrives, and then everybody leaves.
    fn finish(mut self) {
        let mut rounds = 0;
        loop {
            for client in &mut self.clients {
                client.peer.set_room(usize::MAX);
                client.send(usize::MAX);
            }
            self.settle();
            self.clients.iter_mut().for_each(|client| client.read(usize::MAX));
            if self.clients.iter().all(Client::has_sent_all) {
                break;
            }
            rounds += 1;
            assert!(rounds < 20, "there is no end to what has to be said");
        }
        let app = self.world.server.handler();
        for (at, client) in self.clients.iter().enumerate() {
            let seen: Vec<_> = app.seen.iter().filter(|seen| seen.client == at).collect();
            assert!(seen.iter().map(|seen| seen.number).eq(0..seen.len()), "client {at} asks in its order");
            assert!(seen.len() <= client.asked.len(), "nobody else asks for client {at}");
            let replies = seen.iter().zip(&client.asked).map(|(seen, asked)| app.reply(seen, *asked));
            client.check(seen.len(), &replies.collect::<Vec<_>>(), self.time_has_passed);
        }

        for (at, client) in self.clients.iter_mut().enumerate() {
            if at % 2 == 0 {
                client.say_goodbye();
                client.send(usize::MAX);
            }
            client.peer.close();
        }
        self.settle();
        for client in &mut self.clients {
            if !client.peer.is_closed() {
                assert!(self.half_closed && client.has_said_goodbye, "who leaves is gone");
                client.peer.reset();
            }
        }
        self.settle();
        // What is held is counted at the next poll.
        self.turn();
        assert!(self.clients.iter().all(|client| client.peer.is_closed()), "who leaves is gone");
        let stats = self.world.server.stats();
        let left = (stats.connections, stats.streams, stats.topics, stats.memory.network);
        assert_eq!(left, (0, 0, 0, 0), "nothing is left");
        let app = self.world.server.handler();
        assert_eq!(app.opened, app.ended.len(), "every stream ends once");
    }
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn server_config() -> TlsConfig {
    TlsConfig::from_pem(CERTIFICATE, KEY).expect("a certificate")
}

fn client_config(version: &'static SupportedProtocolVersion, resumes: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate")).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the provider has both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption =
        if resumes { Resumption::in_memory_sessions(CLIENTS_MAX) } else { Resumption::disabled() };
    config
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Page,
    /// More than two records.
    Large,
    /// A page that is the last.
    Last,
    /// How long the body of the request is.
    Measured(usize),
    Stream,
}

const LARGE_BYTES: usize = 40_000;

/// What a client has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Text(String),
    /// Events with this data, and no end.
    Events(Vec<String>),
}

/// A request as the server has seen it.
#[derive(Debug)]
struct Seen {
    client: usize,
    number: usize,
    kind: String,
    body_bytes: usize,
    /// Events that were published before.
    published: usize,
}

#[derive(Debug, Default)]
struct App {
    seen: Vec<Seen>,
    published: Vec<String>,
    opened: usize,
    ended: Vec<StreamId>,
}

impl App {
    /// What a client gets that has asked so.
    fn reply(&self, seen: &Seen, asked: Asked) -> Expected {
        let (kind, body_bytes) = asked.parts();
        assert_eq!((seen.kind.as_str(), seen.body_bytes), (kind, body_bytes), "what was asked");
        match asked {
            Asked::Stream => Expected::Events(self.published[seen.published..].to_vec()),
            _ => Expected::Text(text(seen)),
        }
    }
}

impl Asked {
    /// The last part of its path, and the length of its body.
    fn parts(self) -> (&'static str, usize) {
        match self {
            Self::Page => ("page", 0),
            Self::Large => ("large", 0),
            Self::Last => ("last", 0),
            Self::Measured(count) => ("measured", count),
            Self::Stream => ("stream", 0),
        }
    }
}

fn text(seen: &Seen) -> String {
    let text = format!("{} {} {};", seen.client, seen.number, seen.body_bytes);
    if seen.kind == "large" { text.repeat(LARGE_BYTES / text.len()) } else { text }
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        let parts: Vec<_> = request.path().split('/').collect();
        let &["", client, number, kind] = &parts[..] else { panic!("nobody asks for {:?}", request.path()) };
        let parse = |text: &str| text.parse().expect("a number");
        let (client, number, kind) = (parse(client), parse(number), kind.to_owned());
        let published = self.published.len();
        self.seen.push(Seen { client, number, kind, body_bytes: request.body().len(), published });
        let seen = self.seen.last().expect("it was pushed");
        if seen.kind == "stream" { Reply::stream().topic("all").into() } else { Reply::text(text(seen)) }
    }

    fn opened(&mut self, _stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened += 1;
    }

    fn closed(&mut self, stream: StreamId, _reason: CloseReason, _cx: &mut Context<'_>) {
        assert!(!self.ended.contains(&stream), "told once");
        self.ended.push(stream);
    }
}
