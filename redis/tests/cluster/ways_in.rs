//! Ways to Redis: by Sentinels, by a password, and by TLS.

use crate::support::until;
use mio_sse::{Config, History, Ids, Listeners, Router, Server, TopicConfig};
use mio_sse_redis::{Hub, HubConfig, HubError};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A program that is killed on drop.
struct Running {
    child: Child,
    directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn redis(directory: TempDir, arguments: &[&str]) -> Running {
    let mut command = Command::new("redis-server");
    command.current_dir(directory.path()).args(arguments).stdout(Stdio::null());
    Running { child: command.spawn().unwrap(), directory }
}

fn ask(url: &str, command: &[&str]) -> Option<redis::Value> {
    let mut connection = redis::Client::open(url).unwrap().get_connection().ok()?;
    redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).ok()
}

fn says(url: &str, text: &str) -> bool {
    ask(url, &["INFO", "replication"]).is_some_and(|info| format!("{info:?}").contains(text))
}

/// Attaches a node that runs as long as its hub.
fn attach(hub: &Hub) -> Result<(), HubError> {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(100)).ids(Ids::Ordered);
    let mut server = Server::listen(Listeners::new(), Router::new(), config).unwrap();
    hub.attach(&mut server)?;
    thread::spawn(move || server.run());
    Ok(())
}

#[test]
fn sentinels_name_the_master_even_after_it_has_changed() {
    let ports = [free_port(), free_port(), free_port()];
    let [first, second, sentinel] = ports.map(|port| format!("redis://127.0.0.1:{port}/"));
    let [master_port, replica_port, sentinel_port] = ports.map(|port| port.to_string());
    let directory = || TempDir::new().unwrap();
    let _master = redis(directory(), &["--port", &master_port, "--save", ""]);
    let replica = ["--port", &replica_port, "--save", "", "--replicaof", "127.0.0.1", &master_port];
    let _replica = redis(directory(), &replica);
    until("the replica follows", || says(&second, "master_link_status:up"));
    let watches = directory();
    let monitor = format!("port {sentinel_port}\nsentinel monitor main 127.0.0.1 {master_port} 1\n");
    fs::write(watches.path().join("sentinel.conf"), monitor).unwrap();
    let _sentinel = redis(watches, &["sentinel.conf", "--sentinel"]);
    until("the sentinel is there", || ask(&sentinel, &["PING"]).is_some());

    let mut config = HubConfig::default();
    config.sentinel_master = Some("main".into());
    config.publish_timeout = Duration::from_secs(20);
    // Nothing listens at the first address.
    let urls = format!("redis://127.0.0.1:{}/, {sentinel}", free_port());
    let hub = Hub::with_config(&urls, "events", config).unwrap();
    attach(&hub).unwrap();
    let before = hub.publish("a", "before").unwrap();
    let copied = ask(&second, &["XRANGE", "events", &before.to_string(), "+"]);
    until("the replica has it", || copied.is_some());

    until("the sentinel knows the replica", || ask(&sentinel, &["SENTINEL", "FAILOVER", "main"]).is_some());
    until("the replica is the master", || says(&second, "role:master"));
    until("the master is a replica", || says(&first, "master_link_status:up"));
    let after = hub.publish("a", "after").unwrap();
    assert!(after > before);
    until("it is read", || hub.stats().entries_read >= 2 && hub.stats().is_connected);
    assert!(ask(&second, &["XRANGE", "events", &after.to_string(), "+"]).is_some());
}

#[test]
fn a_password_is_needed_and_a_wrong_one_is_an_error() {
    let port = free_port();
    let _redis = redis(
        TempDir::new().unwrap(),
        &["--port", &port.to_string(), "--save", "", "--requirepass", "secret"],
    );
    let url = |password| format!("redis://:{password}@127.0.0.1:{port}/2");
    until("redis-server", || ask(&url("secret"), &["PING"]).is_some());
    let refused = attach(&Hub::new(&url("wrong"), "events").unwrap());
    assert!(matches!(&refused, Err(HubError::Redis(problem)) if !problem.contains("wrong@")), "{refused:?}");
    let hub = Hub::new(&url("secret"), "events").unwrap();
    attach(&hub).unwrap();
    hub.publish("a", "x").unwrap();
    assert!(!format!("{hub:?}").contains("secret"));
}

/// Makes a certificate. Returns whether it succeeded.
fn certificate(directory: &Path) -> bool {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"]);
    openssl.current_dir(directory).output().is_ok_and(|made| made.status.success())
}

#[test]
fn tls_works_with_its_feature_and_is_an_error_without() {
    let port = free_port();
    let url = format!("rediss://localhost:{port}/");
    if !cfg!(feature = "tls") {
        let missing = Hub::new(&url, "events").map(drop);
        assert!(matches!(missing, Err(HubError::Url(_))), "{missing:?}");
        return;
    }
    // Trust is configured for a whole process.
    if let Ok(url) = std::env::var("TRUSTED_REDIS") {
        let hub = Hub::new(&url, "events").unwrap();
        attach(&hub).unwrap();
        hub.publish("a", "by TLS").unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    assert!(certificate(directory.path()), "openssl makes a certificate");
    let port = port.to_string();
    let files = ["--tls-key-file", "key.pem", "--tls-cert-file", "cert.pem", "--tls-auth-clients", "no"];
    let arguments = [&["--port", "0", "--save", "", "--tls-port", &port], &files[..]].concat();
    let redis = redis(directory, &arguments);
    until("redis-server", || std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).is_ok());
    let refused = attach(&Hub::new(&url, "events").unwrap());
    assert!(matches!(refused, Err(HubError::Redis(_))), "it is not trusted: {refused:?}");

    let name = "ways_in::tls_is_there_with_its_feature_and_said_to_be_missing_without";
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", name]).env("TRUSTED_REDIS", url);
    let trusted = again.env("SSL_CERT_FILE", redis.directory.path().join("cert.pem")).output().unwrap();
    let said = String::from_utf8_lossy(&trusted.stdout).into_owned();
    assert!(trusted.status.success() && said.contains("1 passed"), "{said}");
}
