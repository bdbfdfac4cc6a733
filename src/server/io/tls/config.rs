//! Certificates and settings of TLS.

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

/// Certificates and settings for TLS 1.2 and 1.3 (RFC 5246, RFC 8446), for
/// [`Listeners::tls`](crate::Listeners::tls). Requires feature `tls`.
///
/// All clones share one configuration: [`reload`](Self::reload) changes it for all listeners and loops.
///
/// - **Certificates:** one for all names, or several. The name that the client asks for (SNI, RFC 6066 3)
///   selects the first certificate for that name, else the first of all.
/// - **Cipher suites:** those of rustls, with AES-GCM or ChaCha20-Poly1305 and an ephemeral key exchange. No
///   compression, no renegotiation, and no early data, which could be replayed.
/// - **Resumption:** by tickets, so the server stores nothing. Their keys change every six hours.
/// - **ALPN** (RFC 7301): `http/1.1`; `http/1.0` for a client that offers nothing else; none if the client
///   does not ask.
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
    /// One certificate followed by those of its issuers, and its private key, each in a PEM file (RFC 7468),
    /// such as `fullchain.pem` and `privkey.pem` of certbot.
    ///
    /// # Errors
    /// Names the file that cannot be read or used, and the reason.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsConfigError> {
        Self::builder().identity_files(certificates, key).build()
    }

    /// As [`from_pem_files`](Self::from_pem_files), from the contents of such files.
    ///
    /// # Errors
    /// Names the part that cannot be used, and the reason.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        Self::builder().identity(certificates, key).build()
    }

    /// Starts a configuration with several certificates, a minimum version, or client certificates.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// Replaces the configuration by that of `new`, from any thread. It applies to new connections; existing
    /// ones stay as they are. Tickets issued before become useless.
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

/// Builds a [`TlsConfig`]. [`build`](Self::build) reports all mistakes.
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
    /// Roots of client certificates, what they are called in errors, and whether a certificate is required.
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
    /// Adds a certificate followed by those of its issuers, and its private key, in PEM. The first one added
    /// is used for names that no other certificate has.
    pub fn identity(mut self, certificates: &[u8], key: &[u8]) -> Self {
        let names = ["the certificate".to_owned(), "the private key".to_owned()];
        self.identities.push(Ok(Parts { certificates: certificates.to_vec(), key: key.to_vec(), names }));
        self
    }

    /// As [`identity`](Self::identity), from files.
    pub fn identity_files(mut self, certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let parts = read(certificates).and_then(|found| {
            let names = [certificates.display().to_string(), key.display().to_string()];
            Ok(Parts { certificates: found, key: read(key)?, names })
        });
        self.identities.push(parts);
        self
    }

    /// Sets the minimum version. Default: 1.2.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Asks clients for a certificate issued by one of `roots` (PEM). Clients without a certificate are
    /// accepted unless it is `required`.
    pub fn client_certificates(mut self, roots: &[u8], required: bool) -> Self {
        self.clients = Some((Ok(roots.to_vec()), "the roots for clients".to_owned(), required));
        self
    }

    /// As [`client_certificates`](Self::client_certificates), from a file.
    pub fn client_certificates_file(mut self, roots: impl AsRef<Path>, required: bool) -> Self {
        let roots = roots.as_ref();
        self.clients = Some((read(roots), roots.display().to_string(), required));
        self
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// Names the file or part that cannot be used, and the reason: it does not exist, is not PEM, or the key
    /// does not belong to the certificate. Also if there is no certificate at all.
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

/// The certificates in a PEM text, at least one.
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
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsConfigError::new(key_name, format!("the key does not belong to {certificate_name}"))
        }
        error => TlsConfigError::new(format!("{certificate_name}, {key_name}"), error),
    })
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

/// Why a [`TlsConfig`] cannot be built.
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
