//! Which certificate a client gets: the one for the name that it asks for.

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// At least one; the first is for all names that no other is for.
#[derive(Debug)]
pub(crate) struct Identities(Vec<Arc<CertifiedKey>>);

impl Identities {
    pub(crate) fn new(identities: Vec<CertifiedKey>) -> Self {
        Self(identities.into_iter().map(Arc::new).collect())
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = ServerName::try_from(name).ok()?;
        self.0.iter().find(|identity| {
            let parsed = identity.cert.first().and_then(|found| ParsedCertificate::try_from(found).ok());
            parsed.is_some_and(|certificate| verify_server_name(&certificate, &name).is_ok())
        })
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Where there is one, it is for all.
        let asked = hello.server_name().filter(|_| self.0.len() > 1);
        asked.and_then(|name| self.named(name)).or(self.0.first()).cloned()
    }
}
