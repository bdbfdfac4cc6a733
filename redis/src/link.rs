//! Connections to Redis: where it is, and for how long anything is waited for.

use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    Client, Connection, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult, Value,
};
use std::fmt;
use std::time::Duration;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Where Redis is.
pub(crate) enum Link {
    At(Box<Client>),
    /// Known by Sentinels, each time anew.
    BySentinel(Box<SentinelClient>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// At a URL; where there is a name of a master, at that which the Sentinels of these URLs, with commas
    /// between them, know by it. User, password and database are for Redis itself then, and those of the
    /// first URL.
    pub(crate) fn new(urls: &str, master: Option<&str>) -> RedisResult<Self> {
        // An error says that the application has chosen another, which is used.
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Some(master) = master else { return Ok(Self::At(Box::new(Client::open(urls)?))) };
        let infos = urls.split(',').map(|url| url.trim().into_connection_info());
        let infos = infos.collect::<RedisResult<Vec<ConnectionInfo>>>()?;
        let settings = infos.first().map(|info| info.redis_settings().clone()).unwrap_or_default();
        let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
        let sentinels: Vec<_> =
            infos.into_iter().map(|info| info.set_redis_settings(RedisConnectionInfo::default())).collect();
        let client =
            SentinelClient::build(sentinels, String::from(master), Some(node), SentinelServerType::Master)?;
        Ok(Self::BySentinel(Box::new(client)))
    }

    /// A connection on which a reply may take so long.
    pub(crate) fn connect(&mut self, patience: Duration) -> RedisResult<Connection> {
        let connection = match self {
            Self::At(client) => client.get_connection_with_timeout(CONNECT)?,
            Self::BySentinel(client) => client.get_client()?.get_connection_with_timeout(CONNECT)?,
        };
        connection.set_read_timeout(Some(patience))?;
        connection.set_write_timeout(Some(patience))?;
        Ok(connection)
    }
}

/// Sends commands together, and waits for what Redis says to each. An error is one of the connection.
pub(crate) fn send(mut pipe: Pipeline, connection: &mut Connection) -> RedisResult<Vec<RedisResult<Value>>> {
    pipe.ignore_errors().query(connection)
}
