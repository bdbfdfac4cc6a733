//! Connections to Redis: its address and the timeouts.

use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    Client, Connection, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisResult, Value,
};
use std::fmt;
use std::time::Duration;

/// Timeout of a connection attempt.
const CONNECT: Duration = Duration::from_secs(5);

/// The address of Redis.
pub(crate) enum Link {
    At(Box<Client>),
    /// Sentinels are asked for the address before each connection.
    BySentinel(Box<SentinelClient>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// Connects to `urls`, or, if `master` is given, to the master that the Sentinels at `urls` (separated by
    /// commas) know by that name. User, password and database are then those of Redis, and come from the
    /// first URL.
    pub(crate) fn new(urls: &str, master: Option<&str>) -> RedisResult<Self> {
        // This fails if the application has chosen another provider, which is then used.
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

    /// Connects. `patience` is the timeout of each reply.
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

/// Sends commands together, and waits for all replies. Returns an error only if the connection fails.
pub(crate) fn send(mut pipe: Pipeline, connection: &mut Connection) -> RedisResult<Vec<RedisResult<Value>>> {
    pipe.ignore_errors().query(connection)
}
