//! TLS between a client and the world. The course of a seed does not depend on the keys: all random data has
//! the same length.

use crate::net::World;
use mio_sse::TlsConfig;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, OnceLock};

/// Configurations of both sides, made once.
fn both() -> &'static (TlsConfig, Arc<ClientConfig>) {
    static BOTH: OnceLock<(TlsConfig, Arc<ClientConfig>)> = OnceLock::new();
    BOTH.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let server =
            TlsConfig::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        (server, Arc::new(client))
    })
}

pub(crate) fn config() -> TlsConfig {
    both().0.clone()
}

/// A client's end of one connection.
pub(crate) struct Secure {
    connection: ClientConnection,
    /// The server has announced its end.
    pub(crate) ended: bool,
}

impl Secure {
    pub(crate) fn new() -> Self {
        let name = "localhost".try_into().unwrap();
        let mut connection = ClientConnection::new(both().1.clone(), name).unwrap();
        connection.set_buffer_limit(None);
        Self { connection, ended: false }
    }

    pub(crate) fn send(&mut self, text: &[u8], world: &mut World, connection: u32) {
        self.connection.writer().write_all(text).unwrap();
        self.push(world, connection);
    }

    /// Reads up to `count` bytes of records. Returns how many there were.
    pub(crate) fn take(
        &mut self,
        count: usize,
        into: &mut Vec<u8>,
        world: &mut World,
        connection: u32,
    ) -> usize {
        let mut records = Vec::new();
        let taken = world.take(connection, count, &mut records);
        let mut rest = &records[..];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest).unwrap();
            self.connection.process_new_packets().expect("the server speaks TLS");
            let mut chunk = [0; 4096];
            loop {
                match self.connection.reader().read(&mut chunk) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(count) => into.extend_from_slice(&chunk[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.push(world, connection);
        taken
    }

    /// Announces that no more bytes will follow. Returns false during the handshake, when it cannot.
    pub(crate) fn say_goodbye(&mut self, world: &mut World, connection: u32) -> bool {
        if self.connection.is_handshaking() {
            return false;
        }
        self.connection.send_close_notify();
        self.push(world, connection);
        true
    }

    fn push(&mut self, world: &mut World, connection: u32) {
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records).unwrap();
        }
        // It sends nothing after its end.
        if !records.is_empty() && !world.connections[connection as usize].fin {
            world.send(connection, &records);
        }
    }
}
