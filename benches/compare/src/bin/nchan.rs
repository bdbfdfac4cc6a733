//! The hub with nginx and its module nchan: one worker, whose process is measured.
//!
//! The started program is a launcher. Its guard stops nginx when the launcher is gone, for any reason:
//! killing only the master would leave its worker.

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for nginx to accept connections.
const START: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("guard") {
        return guard();
    }
    // When this process ends, the guard's stdin is closed.
    let program = std::env::current_exe()?;
    let mut guard = Command::new(program).arg("guard").stdin(Stdio::piped()).spawn()?;
    let _stdin = guard.stdin.take();
    let status = guard.wait()?;
    if status.success() { Ok(()) } else { Err(format!("nginx: {status}").into()) }
}

fn guard() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("compare-nchan-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = serve(&folder);
    fs::remove_dir_all(&folder)?;
    outcome
}

#[expect(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; waiting for nginx has a deadline"
)]
fn serve(folder: &Path) -> Result<(), Box<dyn Error>> {
    // nginx cannot report which port it was given.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, configure(folder, port)?)?;
    let mut nginx = Command::new("nginx")
        .arg("-c")
        .arg(&configuration)
        .args(["-e", "stderr"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;

    let deadline = Instant::now() + START;
    let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut worker = None;
    while worker.is_none() || !listens() {
        if nginx.try_wait()?.is_some() || Instant::now() > deadline {
            let _ = nginx.kill();
            return Err("nginx does not listen".into());
        }
        sleep(Duration::from_millis(10));
        worker = worker_of(nginx.id());
    }
    println!("worker {}", worker.unwrap_or_default());
    println!("nchan: http://127.0.0.1:{port}");

    io::stdin().read_to_end(&mut Vec::new())?;
    // SIGTERM, which the master passes on.
    Command::new("kill").arg(nginx.id().to_string()).status()?;
    nginx.wait()?;
    Ok(())
}

/// The child of the master that serves, not the one for caches, of which there are none here.
fn worker_of(master: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
        fs::read_to_string(format!("/proc/{child}/cmdline"))
            .is_ok_and(|title| title.contains("worker process"))
    })
}

fn configure(folder: &Path, port: u16) -> io::Result<String> {
    let folder = folder.display();
    let limits = fs::read_to_string("/proc/self/limits")?;
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let files = files.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(1024);
    // The table of connections is allocated when the worker starts.
    let connections = 20_000.min(files);
    Ok(format!(
        "load_module modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        tcp_nodelay on;
        location ~ ^/events/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval 15;
            nchan_eventsource_ping_comment \"keep-alive\";
        }}
        location ~ ^/publish/(.+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
            nchan_message_buffer_length 1024;
        }}
    }}
}}
"
    ))
}
