//! The harness's requests to the server, on one kept-alive connection.

use crate::{PATIENCE, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) struct Control {
    socket: BufReader<TcpStream>,
}

impl Control {
    pub(crate) fn connect(address: SocketAddr) -> Result<Control> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Control { socket: BufReader::new(socket) })
    }

    /// Publishes `count` events in one turn, numbered from `first` on.
    pub(crate) fn publish(&mut self, first: u32, count: u32) -> Result<()> {
        self.ask("POST", &format!("/publish/{first}/{count}")).map(drop)
    }

    /// Number of open streams.
    pub(crate) fn streams(&mut self) -> Result<u64> {
        Ok(self.ask("GET", "/streams")?.parse()?)
    }

    /// Number of open connections, this one included.
    pub(crate) fn connections(&mut self) -> Result<u64> {
        Ok(self.ask("GET", "/connections")?.parse()?)
    }

    /// The body of the response.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> Result<String> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: million\r\nContent-Length: 0\r\n\r\n");
        self.socket.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        for number in 0.. {
            let mut line = String::new();
            self.socket.read_line(&mut line)?;
            if number == 0 && !line.starts_with("HTTP/1.1 200 ") {
                return Err(format!("{method} {path} got {line:?}").into());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}
