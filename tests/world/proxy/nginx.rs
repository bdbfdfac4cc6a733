//! nginx in the foreground, on ports of its own.

use crate::support::{now, repository, run, scratch, tied};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// nginx, until it is dropped.
pub(crate) struct Nginx {
    process: Child,
    plain: u16,
    tls: u16,
}

/// The block of the README.
fn documented() -> String {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, block) = readme.split_once("```nginx\n").expect("the README has a configuration for nginx");
    assert!(!block.contains("```nginx"), "one configuration");
    block.split_once("```").unwrap().0.to_owned()
}

/// Replaces a text that has to occur once.
pub(crate) fn replace(configuration: &str, old: &str, new: &str) -> String {
    assert_eq!(configuration.matches(old).count(), 1, "{old} in {configuration}");
    configuration.replace(old, new)
}

/// A self-signed certificate for 127.0.0.1 and its key, made once for all tests.
fn certificate() -> &'static (PathBuf, PathBuf) {
    static MADE: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = scratch("certificate");
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
        run(&mut openssl);
        (certificate, key)
    })
}

impl Nginx {
    /// With the README's configuration, except for addresses and files.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        Self::with(upstream, str::to_owned)
    }

    /// With that configuration, changed.
    pub(crate) fn with(upstream: SocketAddr, change: impl Fn(&str) -> String) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let directory = scratch(&format!("nginx-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let (certificate, key) = certificate();
        // nginx cannot choose ports itself, so another program may take one in between. Then it is started
        // again.
        for _ in 0..10 {
            let [plain, tls] = free_ports();
            let mut server = change(&documented());
            for (old, new) in [
                ("127.0.0.1:8080", &*upstream.to_string()),
                ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
                ("listen 443 ssl http2;", &format!("listen 127.0.0.1:{tls} ssl http2;")),
                ("/etc/ssl/certs/example.pem", certificate.to_str().unwrap()),
                ("/etc/ssl/private/example.key", key.to_str().unwrap()),
            ] {
                server = replace(&server, old, new);
            }
            std::fs::write(directory.join("nginx.conf"), format!("{}{server}}}\n", around())).unwrap();
            if let Some(process) = start(&directory, [plain, tls]) {
                return Self { process, plain, tls };
            }
        }
        let log = std::fs::read_to_string(directory.join("error.log"));
        panic!("nginx does not start: {}", log.unwrap_or_default());
    }

    pub(crate) fn url(&self, tls: bool, path: &str) -> String {
        match tls {
            true => format!("https://127.0.0.1:{}{path}", self.tls),
            false => format!("http://127.0.0.1:{}{path}", self.plain),
        }
    }
}

/// The configuration around the README's block, so that nothing is written outside of the directory.
fn around() -> String {
    let mut text = "daemon off; worker_processes 1; pid nginx.pid; error_log error.log;\n\
        events {}\n\
        http {\n\
        access_log off; gzip on; gzip_min_length 0;\n"
        .to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        text.push_str(&format!("{kind}_temp_path temp;\n"));
    }
    text
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Starts it and waits until it listens. Returns `None` if it has exited.
fn start(directory: &Path, ports: [u16; 2]) -> Option<Child> {
    let mut command = tied("nginx");
    command.arg("-p").arg(directory).args(["-e", "error.log", "-c", "nginx.conf"]);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = now() + crate::support::DEADLINE;
    while now() < deadline {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            return Some(process);
        }
        std::thread::sleep(crate::support::ms(10));
    }
    stop(&mut process);
    None
}

/// Not SIGKILL, which its workers would survive.
fn stop(process: &mut Child) {
    let _ = Command::new("kill").arg(process.id().to_string()).status();
    let _ = process.wait();
}

impl Drop for Nginx {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}
