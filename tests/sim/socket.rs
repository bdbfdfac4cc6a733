//! A client's end of a connection, with TLS or without, and the network that a server has for both.

use crate::net::{SimNet, World};

/// The network of a server.
#[cfg(feature = "tls")]
pub(crate) type ServerNet<const SHORT: bool> = mio_sse::net::TlsNet<SimNet<SHORT>>;
#[cfg(not(feature = "tls"))]
pub(crate) type ServerNet<const SHORT: bool> = SimNet<SHORT>;

/// `secure`: all its connections use TLS.
pub(crate) fn server_net<const SHORT: bool>(net: SimNet<SHORT>, secure: bool) -> ServerNet<SHORT> {
    #[cfg(feature = "tls")]
    return if secure {
        mio_sse::net::TlsNet::for_all(net, crate::secure::config())
    } else {
        mio_sse::net::TlsNet::new(net)
    };
    #[cfg(not(feature = "tls"))]
    {
        assert!(!secure, "there is no TLS");
        net
    }
}

/// Makes the configurations of all connections, which must not count as memory of a server.
pub(crate) fn prepare() {
    #[cfg(feature = "tls")]
    drop(crate::secure::config());
}

/// A client's end of a connection.
pub(crate) struct Socket {
    pub(crate) connection: u32,
    #[cfg(feature = "tls")]
    secure: Option<crate::secure::Secure>,
}

impl Socket {
    pub(crate) fn new(connection: u32, secure: bool) -> Self {
        #[cfg(not(feature = "tls"))]
        assert!(!secure, "there is no TLS");
        Self {
            connection,
            #[cfg(feature = "tls")]
            secure: secure.then(crate::secure::Secure::new),
        }
    }

    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.secure.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(crate) fn send(&mut self, text: &[u8], world: &mut World) {
        #[cfg(feature = "tls")]
        if let Some(secure) = &mut self.secure {
            return secure.send(text, world, self.connection);
        }
        world.send(self.connection, text);
    }

    /// Reads up to `count` bytes, which are records with TLS. Returns how many there were.
    pub(crate) fn take(&mut self, count: usize, into: &mut Vec<u8>, world: &mut World) -> usize {
        #[cfg(feature = "tls")]
        if let Some(secure) = &mut self.secure {
            return secure.take(count, into, world, self.connection);
        }
        world.take(self.connection, count, into)
    }

    /// Announces its end, which only TLS can. Returns whether there is nothing left to
    /// announce.
    pub(crate) fn say_goodbye(&mut self, world: &mut World) -> bool {
        #[cfg(feature = "tls")]
        if let Some(secure) = &mut self.secure {
            return secure.say_goodbye(world, self.connection);
        }
        let _ = world;
        true
    }

    /// Whether the server has announced its end, which only TLS can.
    pub(crate) fn was_told_the_end(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(secure) = &self.secure {
            return secure.ended;
        }
        true
    }
}
