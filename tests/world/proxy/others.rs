//! Proxies other than nginx, in the foreground, each on a port of its own, with the configurations that
//! `configurations.md` shows.

use super::nginx::replace;
use crate::support::{eventually, ms, now, repository, scratch, tied};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How a proxy is started, and how it behaves.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The language of its code block in `configurations.md`, which no other block has.
    fence: &'static str,
    /// Name of the configuration file.
    file: &'static str,
    /// The line of the block that names the port, and its replacement. `None` if no line does.
    port: Option<(&'static str, &'static str)>,
    /// Text before the block: it keeps all files in the directory of the test, and listens nowhere else.
    before: &'static str,
    program: &'static str,
    /// The argument that prints the version.
    version: &'static str,
    arguments: &'static [&'static str],
    pub(crate) leaving: Leaving,
    /// Status and content type of its response while there is no server, as curl shows them.
    pub(crate) away: &'static str,
}

/// When a proxy closes the connection to the server after its client has left.
pub(crate) enum Leaving {
    AtOnce,
    /// When writing to the client fails.
    AtAWrite,
}

pub(crate) const HAPROXY: Kind = Kind {
    name: "HAProxy",
    fence: "haproxy",
    file: "haproxy.cfg",
    port: Some(("bind :80\n", "bind 127.0.0.1:{port}\n")),
    before: "",
    program: "haproxy",
    version: "-v",
    arguments: &["-db", "-f", "haproxy.cfg"],
    leaving: Leaving::AtOnce,
    away: "200 text/event-stream",
};

pub(crate) const CADDY: Kind = Kind {
    name: "Caddy",
    fence: "caddy",
    file: "Caddyfile",
    port: Some((":80 {\n", ":{port} {\nbind 127.0.0.1\n")),
    // HTTP/2 without TLS is off by default.
    before: "{\nadmin off\nservers {\nprotocols h1 h2c\n}\n}\n",
    program: "caddy",
    version: "version",
    arguments: &["run", "--config", "Caddyfile", "--adapter", "caddyfile"],
    leaving: Leaving::AtOnce,
    away: "200 text/event-stream",
};

pub(crate) const LIGHTTPD: Kind = Kind {
    name: "lighttpd",
    fence: "lighttpd",
    file: "lighttpd.conf",
    port: None,
    before: "server.document-root = \"{directory}\"\n\
        server.upload-dirs = (\"{directory}\")\n\
        server.bind = \"127.0.0.1\"\n\
        server.port = {port}\n",
    program: "lighttpd",
    version: "-v",
    arguments: &["-D", "-f", "lighttpd.conf"],
    leaving: Leaving::AtOnce,
    away: "503 text/html",
};

pub(crate) const VARNISH: Kind = Kind {
    name: "Varnish",
    fence: "vcl",
    file: "events.vcl",
    port: None,
    before: "",
    program: "varnishd",
    version: "-V",
    arguments: &[
        "-F",
        "-f",
        "{directory}/events.vcl",
        "-a",
        "127.0.0.1:{port}",
        "-n",
        "{directory}",
        "-j",
        "none",
        "-T",
        "none",
    ],
    leaving: Leaving::AtOnce,
    away: "000 ",
};

pub(crate) const APACHE: Kind = Kind {
    name: "Apache",
    fence: "apache",
    file: "apache.conf",
    port: Some(("*:80>", "*:{port}>")),
    // The user matters only if root starts it.
    before: "ServerRoot {directory}\n\
        ServerName 127.0.0.1\n\
        Listen 127.0.0.1:{port}\n\
        PidFile apache.pid\n\
        ErrorLog /dev/stderr\n\
        User nobody\n\
        Group nogroup\n\
        LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
        LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
        LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so\n\
        LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so\n\
        LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so\n",
    program: "apache2",
    version: "-v",
    arguments: &["-DFOREGROUND", "-f", "{directory}/apache.conf"],
    leaving: Leaving::AtAWrite,
    away: "503 text/html; charset=iso-8859-1",
};

pub(crate) const ALL: [&Kind; 5] = [&HAPROXY, &CADDY, &LIGHTTPD, &VARNISH, &APACHE];

/// A proxy, until it is dropped.
pub(crate) struct Other {
    process: Child,
    pub(crate) address: SocketAddr,
    _reserved: Socket,
}

impl Kind {
    /// Its block of `configurations.md`.
    fn documented(&self) -> String {
        let path = repository().join("tests/world/proxy/configurations.md");
        let text = std::fs::read_to_string(path).unwrap();
        let fence = format!("```{}\n", self.fence);
        assert_eq!(text.matches(&fence).count(), 1, "one configuration for {}", self.name);
        text.split_once(&fence).unwrap().1.split_once("```").unwrap().0.to_owned()
    }

    /// With the documented configuration, save for ports.
    pub(crate) fn before(&self, upstream: SocketAddr) -> Other {
        self.with(upstream, str::to_owned)
    }

    /// With that configuration, changed.
    pub(crate) fn with(&self, upstream: SocketAddr, change: impl Fn(&str) -> String) -> Other {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let directory = scratch(&format!("{}-{}", self.fence, COUNT.fetch_add(1, Ordering::Relaxed)));
        let (reserved, address) = reserve();
        let fill = |text: &str| {
            text.replace("{port}", &address.port().to_string())
                .replace("{directory}", directory.to_str().unwrap())
        };

        let mut block = change(&self.documented());
        assert!(block.contains("8080"), "the server's port is in {block}");
        block = block.replace("8080", &upstream.port().to_string());
        if let Some((old, new)) = self.port {
            block = replace(&block, old, &fill(new));
        }
        std::fs::write(directory.join(self.file), fill(self.before) + &block).unwrap();

        let mut command = tied(self.program);
        command.args(self.arguments.iter().map(|argument| fill(argument))).current_dir(&directory);
        for home in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(home, &directory);
        }
        let process = start(&mut command, &directory, address);
        Other { process, address, _reserved: reserved }
    }

    /// The version that is installed, in its own words.
    pub(crate) fn says(&self) -> String {
        let output = Command::new(self.program).arg(self.version).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }
}

/// A port for a proxy. The socket does not listen: it keeps the system from giving the port to others, but a
/// program that asks for the port by its number still gets it.
pub(crate) fn reserve() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Starts it and waits until it listens.
fn start(command: &mut Command, directory: &Path, address: SocketAddr) -> Child {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    command.stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
    let mut process = command.spawn().unwrap();
    eventually("the proxy listens", || {
        if process.try_wait().unwrap().is_some() {
            panic!("{command:?}: {}", std::fs::read_to_string(directory.join("log")).unwrap());
        }
        TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
    });
    process
}

impl Other {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// First SIGTERM, since workers could survive a SIGKILL. Caddy then waits for its streams to end, so SIGKILL
/// follows.
impl Drop for Other {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = now() + ms(2000);
        while now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(ms(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
