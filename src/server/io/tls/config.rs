//! Who the server is to clients that speak TLS.

use crate::server::io::tls::names::Identities;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Certificates and what else a server needs to speak TLS 1.2 and 1.3 (RFC 5246, RFC 8446), for
/// [`Listeners::tls`](crate::Listeners::tls). Only with feature `tls`.
///
/// All clones are one: what [`reload`](Self::reload) puts in place is in place for all listeners and all
/// loops.
///
/// - One certificate is for all names, or there are several, of which the client chooses by the name that it
///   asks for (SNI, RFC 6066 3): the first that is for this name, else the first of all.
/// - Suites are those that rustls finds safe: with AES-GCM or ChaCha20-Poly1305 and an ephemeral key
///   exchange. There is no compression, no renegotiation, and no early data, which could be replayed.
/// - Clients that come back are spared the certificate by a ticket; the server keeps nothing for them, and
///   the keys of tickets change every six hours.
/// - The protocol that is agreed on (ALPN, RFC 7301) is `http/1.1`, or `http/1.0` for a client that speaks no
///   other, or none if the client does not ask.
///
/// ```no_run
/// use mio_sse::{Config, Listeners, Router, Server, TlsConfig};
///
/// let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
/// let listeners = Listeners::new().tls("0.0.0.0:443", &tls);
/// let mut server = Server::listen(listeners, Router::new(), Config::default())?;
///
/// // From any thread, when there is a new certificate:
/// tls.reload(&TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?);
/// server.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
/// PERFORMANCE.md has the memory of a stream, and the CPU time of a handshake and of a delivery.
#[derive(Clone)]
pub struct TlsConfig {
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// One certificate, with those of its issuers behind it, and its private key, each in a file in PEM (RFC
    /// 7468), as certbot writes `fullchain.pem` and `privkey.pem`.
    ///
    /// # Errors
    /// Says which file cannot be read or used, and why.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsConfigError> {
        Self::builder().identity_files(certificates, key).build()
    }

    /// The same, from what such files hold.
    ///
    /// # Errors
    /// Says what cannot be used, and why.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        Self::builder().identity(certificates, key).build()
    }

    /// With several certificates, a least version, or certificates of clients.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// Puts what `new` has in the place of what there was, for connections that come from now on; those that
    /// are there stay as they are. From any thread. Tickets that were given out before are of no use any
    /// more.
    pub fn reload(&self, new: &TlsConfig) {
        let new = new.current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Makes a [`TlsConfig`]. What is wrong is said by [`build`](Self::build).
///
/// ```
/// use mio_sse::{TlsConfig, TlsVersion};
///
/// let built = TlsConfig::builder()
///     .identity_files("example.org.pem", "example.org.key")
///     .identity_files("example.net.pem", "example.net.key")
///     .min_version(TlsVersion::Tls13)
///     .build();
/// assert_eq!(built.unwrap_err().to_string(), "example.org.pem: No such file or directory (os error 2)");
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct TlsBuilder {
    identities: Vec<Result<Parts, TlsConfigError>>,
    min_version: TlsVersion,
    /// Roots of certificates of clients, and whether a client has to have one.
    clients: Option<(Result<Vec<u8>, TlsConfigError>, String, bool)>,
}

/// A certificate in PEM, its key, and what they are called in errors.
#[derive(Debug)]
struct Parts {
    certificates: Vec<u8>,
    key: Vec<u8>,
    names: [String; 2],
}

impl TlsBuilder {
    /// A certificate, with those of its issuers behind it, and its private key, in PEM. The first is for all
    /// names for which no other is.
    pub fn identity(mut self, certificates: &[u8], key: &[u8]) -> Self {
        let names = ["the certificate".to_owned(), "the private key".to_owned()];
        self.identities.push(Ok(Parts { certificates: certificates.to_vec(), key: key.to_vec(), names }));
        self
    }

    /// The same, from files.
    pub fn identity_files(mut self, certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let parts = read(certificates).and_then(|found| {
            let names = [certificates.display().to_string(), key.display().to_string()];
            Ok(Parts { certificates: found, key: read(key)?, names })
        });
        self.identities.push(parts);
        self
    }

    /// The least version that a client has to speak; 1.2 if nothing is said.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Asks clients for a certificate, which has to be issued by one of `roots`, in PEM. One that has none is
    /// let in unless they are `required`.
    pub fn client_certificates(mut self, roots: &[u8], required: bool) -> Self {
        self.clients = Some((Ok(roots.to_vec()), "the roots for clients".to_owned(), required));
        self
    }

    /// The same, from a file.
    pub fn client_certificates_file(mut self, roots: impl AsRef<Path>, required: bool) -> Self {
        let roots = roots.as_ref();
        self.clients = Some((read(roots), roots.display().to_string(), required));
        self
    }

    /// The configuration.
    ///
    /// # Errors
    /// Says which file or part cannot be used, and why: it is not there, holds no PEM, the key does not
    /// belong to the certificate. Also if there is no certificate at all.
    pub fn build(self) -> Result<TlsConfig, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let identities = self.identities.into_iter().map(|parts| certified(parts?, &provider));
        let identities = identities.collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            return Err(TlsConfigError::new("the certificate", "there is none"));
        }
        let versions: &[_] = match self.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| TlsConfigError::new("the version", error))?;
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some((roots, name, required)) => {
                builder.with_client_cert_verifier(verifier(&roots?, &name, required, &provider)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Identities::new(identities)));
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| TlsConfigError::new("tickets", error))?;
        // One is enough for a client that comes back.
        config.send_tls13_tickets = 1;
        Ok(TlsConfig { current: Arc::new(RwLock::new(Arc::new(config))) })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsConfigError> {
    std::fs::read(path).map_err(|error| TlsConfigError::new(path.display(), error))
}

/// The certificates in a text of PEM, of which there has to be one.
fn certificates(text: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsConfigError::new(name, said(&error)))?;
    if found.is_empty() { Err(TlsConfigError::new(name, "there is no certificate in it")) } else { Ok(found) }
}

fn certified(parts: Parts, provider: &CryptoProvider) -> Result<CertifiedKey, TlsConfigError> {
    let [certificate_name, key_name] = parts.names;
    let chain = certificates(&parts.certificates, &certificate_name)?;
    let key = PrivateKeyDer::from_pem_slice(&parts.key)
        .map_err(|error| TlsConfigError::new(&key_name, said(&error)))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| TlsConfigError::new(format!("{certificate_name}, {key_name}"), error))
}

fn said(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is no key in it".to_owned(),
        error => error.to_string(),
    }
}

fn verifier(
    roots: &[u8],
    name: &str,
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for root in certificates(roots, name)? {
        store.add(root).map_err(|error| TlsConfigError::new(name, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsConfigError::new(name, error))
}

/// Why a [`TlsConfig`] cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfigError {
    part: String,
    problem: String,
}

impl TlsConfigError {
    fn new(part: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { part: part.to_string(), problem: problem.to_string() }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.problem)
    }
}

impl std::error::Error for TlsConfigError {}

impl From<TlsConfigError> for std::io::Error {
    fn from(error: TlsConfigError) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}
