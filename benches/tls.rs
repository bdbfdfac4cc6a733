//! The cost of TLS for a server: memory of an idle stream, CPU time of a new stream and of a delivery, and
//! how long other streams wait during many handshakes. Compares the example `hub` with itself without TLS,
//! and with other programs.
//!
//! ```text
//! cargo bench --bench tls --features tls
//! cargo bench --bench tls --features tls -- --runs 1 --streams 200
//! cargo bench --bench tls --features tls -- --peer axum=benches/compare/target/release/axum
//! ```
//!
//! A peer does the same as the hub. It prints its address, and reads its certificate from the files that
//! `CERTIFICATES` and `KEY` name. Clients do the handshake but do not decrypt, as only the server is
//! measured.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measuring needs the clock, and a table")]

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write, stdin, stdout};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[path = "root.rs"]
mod root;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events that are published one by one.
const EVENTS: usize = 60;

/// Handshakes of a storm.
const STORM: usize = 5_000;

/// Threads of the client that shake hands at the same time in a storm.
const THREADS: usize = 32;

fn main() -> Result<()> {
    root::enter()?;
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, address, count, how] = &arguments[..]
        && role == "client"
    {
        return client(address.parse()?, count.parse()?, how);
    }
    let (mut runs, mut streams, mut peers) = (5, 5_000, Vec::new());
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let operand = words.next().ok_or_else(|| format!("{word} needs an operand"))?;
        match word.as_str() {
            "--runs" => runs = operand.parse()?,
            "--streams" => streams = operand.parse()?,
            "--peer" => peers.push(operand),
            _ => return Err(format!("there is no option {word}").into()),
        }
    }
    let hub = hub()?;
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let folder = std::env::temp_dir().join(format!("mio-sse-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let files = [folder.join("certificates.pem"), folder.join("key.pem")];
    std::fs::write(&files[0], certificate.cert.pem())?;
    std::fs::write(&files[1], certificate.signing_key.serialize_pem())?;

    let mut subjects = vec![("plain".to_owned(), hub.clone(), false), ("tls".to_owned(), hub, true)];
    for peer in peers {
        let (name, program) = peer.split_once('=').ok_or("--peer takes NAME=PROGRAM")?;
        subjects.push((name.to_owned(), program.into(), true));
    }
    let mut measured: Vec<Vec<Figures>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs {
        for ((_, program, secure), figures) in subjects.iter().zip(&mut measured) {
            figures.push(measure(program, secure.then_some(&files), streams)?);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    print!("{:<34}", format!("{streams} streams, {runs} runs in turn"));
    for (name, ..) in &subjects {
        print!("{name:>12}");
    }
    println!();
    for (row, name) in ROWS.iter().enumerate() {
        print!("{name:<34}");
        for figures in &measured {
            let mut values: Vec<f64> = figures.iter().map(|figures| figures[row]).collect();
            values.sort_by(f64::total_cmp);
            print!("{:>12.2}", values[values.len() / 2]);
        }
        println!();
    }
    Ok(())
}

const ROWS: [&str; 7] = [
    "memory of an idle stream, B",
    "CPU of a new stream, us",
    "CPU of one that comes back, us",
    "CPU of a delivery of 64 B, us",
    "p99 of another stream, ms",
    "the same in a storm, ms",
    "new streams a second in the storm",
];

type Figures = [f64; ROWS.len()];

/// Builds the hub, beside this program.
fn hub() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--example", "hub", "--features", "tls"])
        .status()?;
    let this = std::env::current_exe()?;
    let release = this.parent().and_then(|deps| deps.parent()).ok_or("no folder")?;
    built.success().then(|| release.join("examples/hub")).ok_or_else(|| "the hub does not compile".into())
}

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    process: Running,
    address: SocketAddr,
    certificates: Option<PathBuf>,
}

impl Server {
    fn start(program: &PathBuf, files: Option<&[PathBuf; 2]>) -> Result<Self> {
        let mut command = Command::new(program);
        command.env("PORT", "0").env("RUST_LOG", "error").stdout(Stdio::piped());
        if let Some([certificates, key]) = files {
            command.env("CERTIFICATES", certificates).env("KEY", key);
        }
        let mut process = Running(command.spawn()?);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().rsplit('/').next().ok_or("no address")?.parse()?;
        Ok(Self { process, address, certificates: files.map(|[certificates, _]| certificates.clone()) })
    }

    /// CPU time of all its threads, in microseconds.
    fn cpu(&self) -> Result<f64> {
        let mut nanos = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split(' ').next().ok_or("no figure")?.parse::<f64>()?;
        }
        Ok(nanos / 1e3)
    }

    /// Bytes of anonymous memory.
    fn memory(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no figure")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }

    /// Starts a process that opens `count` streams. They are open when this returns.
    fn clients(&self, count: usize, how: &str) -> Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["client", &self.address.to_string(), &count.to_string(), how]);
        if let Some(certificates) = &self.certificates {
            command.env("CERTIFICATES", certificates);
        }
        let mut client = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        client.0.stdout.take().ok_or("no output")?.read_exact(&mut [0])?;
        Ok(client)
    }
}

fn measure(program: &PathBuf, files: Option<&[PathBuf; 2]>, streams: usize) -> Result<Figures> {
    let server = Server::start(program, files)?;
    let config = server.certificates.as_ref().map(config).transpose()?;
    // One-time allocations are made before the measurement.
    drop(server.clients(streams.div_ceil(10), "full")?);
    thread::sleep(Duration::from_millis(300));
    let (memory, cpu) = (server.memory()?, server.cpu()?);
    let clients = server.clients(streams, "full")?;
    thread::sleep(Duration::from_millis(300));
    let each = (server.memory()? - memory) / streams as f64;
    let new = (server.cpu()? - cpu) / streams as f64;

    let mut publisher = Connection::open(server.address, config.clone())?;
    let publish = |publisher: &mut Connection| {
        publisher
            .write(b"POST /publish/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 64\r\n\r\n")?;
        publisher.write(&[b'x'; 64])?;
        publisher.read_until(b"\r\n\r\n")
    };
    publish(&mut publisher)?;
    thread::sleep(Duration::from_millis(200));
    let cpu = server.cpu()?;
    for _ in 0..EVENTS {
        publish(&mut publisher)?;
        // Longer than all streams take to read the event.
        thread::sleep(Duration::from_millis(20 + streams as u64 / 50));
    }
    let delivery = (server.cpu()? - cpu) / (EVENTS * streams) as f64;
    drop(clients);
    thread::sleep(Duration::from_millis(500));

    let resumed = streams.div_ceil(5);
    let cpu = server.cpu()?;
    let clients = server.clients(resumed, "resumed")?;
    let back = (server.cpu()? - cpu) / resumed as f64;
    drop(clients);
    thread::sleep(Duration::from_millis(300));

    let quiet = watch(&server, config.clone(), || {
        thread::sleep(Duration::from_secs(2));
        Ok(0.0)
    })?;
    let storm = watch(&server, config, || {
        let begun = Instant::now();
        drop(server.clients(STORM.min(streams), "storm")?);
        Ok(STORM.min(streams) as f64 / begun.elapsed().as_secs_f64())
    })?;
    Ok([each, new, back, delivery, quiet.0, storm.0, storm.1])
}

/// Measures the latency of another stream while `act` runs. Returns its 99th percentile in milliseconds, and
/// the result of `act`.
fn watch(
    server: &Server,
    config: Option<Arc<ClientConfig>>,
    act: impl FnOnce() -> Result<f64>,
) -> Result<(f64, f64)> {
    let mut stream = Connection::open(server.address, config.clone())?;
    stream.write(b"GET /events/watched HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    stream.read_until(b"\r\n\r\n")?;
    let mut publisher = Connection::open(server.address, config)?;
    let (stop, stops) = std::sync::mpsc::channel::<()>();
    let watching = thread::spawn(move || {
        let mut times = Vec::new();
        for number in 0.. {
            if stops.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                break;
            }
            let data = format!("number {number:08}");
            let head = "POST /publish/watched HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n";
            let begun = Instant::now();
            let written = publisher.write(format!("{head}{data}").as_bytes());
            if written.is_err() || stream.read_until(format!("{data}\n\n").as_bytes()).is_err() {
                break;
            }
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            if publisher.read_until(b"\r\n\r\n").is_err() {
                break;
            }
            // A connection is limited to a thousand requests.
            thread::sleep(Duration::from_millis(5));
            if number > 900 {
                break;
            }
        }
        times
    });
    let result = act()?;
    drop(stop);
    let mut times = watching.join().map_err(|_| "the watcher has panicked")?;
    times.sort_by(f64::total_cmp);
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    Ok((*times.get(at).ok_or("nothing came")?, result))
}

/// A client configuration that trusts the certificate in the file.
fn config(file: &PathBuf) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A blocking connection.
struct Connection {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    received: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr, config: Option<Arc<ClientConfig>>) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("localhost")?;
        let tls = config.map(|config| ClientConnection::new(config, name)).transpose()?;
        Ok(Self { socket, tls, received: Vec::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            Some(tls) => Stream::new(tls, &mut self.socket).write_all(bytes)?,
            None => self.socket.write_all(bytes)?,
        }
        Ok(())
    }

    /// Reads up to and including `what`.
    fn read_until(&mut self, what: &[u8]) -> Result<()> {
        loop {
            if let Some(at) = self.received.windows(what.len()).position(|window| window == what) {
                self.received.drain(..at + what.len());
                return Ok(());
            }
            let mut chunk = [0; 4096];
            let count = match &mut self.tls {
                Some(tls) => Stream::new(tls, &mut self.socket).read(&mut chunk)?,
                None => self.socket.read(&mut chunk)?,
            };
            if count == 0 {
                return Err("the server has closed the connection".into());
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    fn open_stream(address: SocketAddr, config: Option<Arc<ClientConfig>>) -> Result<Self> {
        let mut connection = Self::open(address, config)?;
        connection.write(b"GET /events/streams HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        connection.read_until(b"\r\n\r\n")?;
        Ok(connection)
    }
}

/// Opens `count` streams, reports that, and reads until its input ends.
fn client(address: SocketAddr, count: usize, how: &str) -> Result<()> {
    let file = std::env::var_os("CERTIFICATES").map(PathBuf::from);
    let config = file.as_ref().map(config).transpose()?;
    // Only a client that has connected before has tickets.
    let config = config.map(|config| {
        let mut config = ClientConfig::clone(&config);
        if how != "resumed" {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    });
    let mut sockets = Vec::new();
    if how == "storm" {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (count, config) =
                    (count / THREADS + usize::from(number < count % THREADS), config.clone());
                thread::spawn(move || {
                    let open = || Connection::open_stream(address, config.clone()).ok();
                    std::iter::repeat_with(open).take(count).flatten().collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            let opened = thread.join().map_err(|_| "a thread has panicked")?;
            sockets.extend(opened.into_iter().map(|connection| connection.socket));
        }
        if sockets.len() < count {
            return Err(format!("only {} of {count} streams were opened", sockets.len()).into());
        }
    } else {
        for _ in 0..count {
            sockets.push(Connection::open_stream(address, config.clone())?.socket);
        }
    }
    stdout().write_all(b".")?;
    stdout().flush()?;
    thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut poll = mio::Poll::new()?;
    let mut sockets: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(mio::net::TcpStream::from_std(socket))
        })
        .collect::<std::result::Result<_, _>>()?;
    for (index, socket) in sockets.iter_mut().enumerate() {
        poll.registry().register(socket, mio::Token(index), mio::Interest::READABLE)?;
    }
    let (mut events, mut chunk) = (mio::Events::with_capacity(1024), vec![0; 64 << 10]);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            while let Ok(1..) = sockets[event.token().0].read(&mut chunk) {}
        }
    }
}
