//! Every limit and every time-out.

use crate::error::ConfigError;
use crate::http::browser::cors::Cors;
use crate::http::browser::hosts;
use crate::http::reply::reply::Reply;
use crate::topic::history::TopicConfig;
use std::borrow::Cow;
use std::time::Duration;

/// The limits of a server. The defaults are fit for the open internet.
///
/// ```
/// use mio_sse::{Config, Router, Server};
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.heartbeat = Some(Duration::from_secs(30));
/// config.body_bytes_max = 1 << 20;
/// let server = Server::bind_with("127.0.0.1:0", Router::new(), config)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Connections that the kernel holds ready for the server to accept. The kernel caps it (Linux:
    /// `net.core.somaxconn`). Default 4096: room for a crowd that reconnects at once, which a backlog of 128
    /// turns away.
    pub backlog: u32,

    /// Connections, with or without a stream. Default 120,000: more than `streams_max`, so that a server full
    /// of streams still answers other requests. Some more, a sixteenth (8 at least, 1,024 at most), are let
    /// in for one request each: a page they get, a stream is [refused](Self::refuse). Who comes beyond
    /// that is closed at once. The process needs a descriptor for each, see `ulimit -n`; where there are none
    /// left, a few held in reserve serve the same purpose.
    pub connections_max: usize,
    /// Connections from one IPv4 address, or one /64 network of IPv6. `None`, the default, is any number,
    /// since behind a reverse proxy all come from one address. Who comes beyond it is treated as under
    /// `connections_max`. Costs 16 bytes for each connection and 40 for each address.
    pub connections_per_address_max: Option<usize>,
    /// Requests that one connection may carry, at most 65,535. Default 1,000: a connection closed now and
    /// then lets a load balancer spread its clients anew, and costs a handshake in a thousand requests.
    pub requests_per_connection_max: usize,
    /// Open streams. Default 100,000, which cost 7 MB here and some 400 MB in the kernel. One more is
    /// [refused](Self::refuse).
    pub streams_max: usize,
    /// Topics that one stream may read. Default 128: every one of them is looked at for each delivery to a
    /// stream that reads several. A stream that asks for more is answered 400;
    /// [`Context::subscribe`](crate::Context::subscribe) is
    /// [`Error::TooManySubscriptions`](crate::Error::TooManySubscriptions).
    pub subscriptions_max: usize,
    /// Topics that have a subscriber, or of which something is kept. Default 1,000,000, some 200 bytes each.
    /// A stream that asks for one more is [refused](Self::refuse);
    /// [`Context::subscribe`](crate::Context::subscribe), and [`Context::publish`](crate::Context::publish)
    /// to a topic that would be kept, are [`Error::TooManyTopics`](crate::Error::TooManyTopics).
    pub topics_max: usize,
    /// Tags that one stream may have. Default 16: they are gone through for each that is added or removed.
    /// Each costs 32 bytes, and some 90 and its name where no other stream has it. A stream that asks for
    /// more is answered 400; [`Context::tag`](crate::Context::tag) is
    /// [`Error::TooManyTags`](crate::Error::TooManyTags).
    pub tags_max: usize,
    /// Tags that are [revoked](crate::Context::revoke) at a time. Default 1,000,000, some 150 bytes each.
    /// With one more, the one that would be over first is over at once.
    pub revoked_max: usize,
    /// How a stream is refused where there are too many. Default [`Refuse::Auto`].
    pub refuse: Refuse,
    /// When a client that is refused should come again, at the earliest: in `retry:` or `Retry-After`, with
    /// up to as much again added, different for each, so that they do not all come at once. Default 10 s.
    pub refuse_retry: Duration,

    /// Which pages of other origins may read replies. Default `None`: none, unless handlers let them by
    /// headers of their own. With `Some`, the server adds the headers to all replies and answers preflights;
    /// see [`Cors`].
    pub cors: Option<Cors>,
    /// The hosts that clients may reach this server by: names or addresses, each with a port or for all
    /// ports, in upper or lower case, without wildcards. A request for any other host gets 421 (Misdirected
    /// Request, RFC 9110 15.5.20) as soon as its head has arrived, and counts in
    /// [`Stats::rejected`](crate::Stats::rejected). The host is that of the `Host` header, or of the target
    /// if that is a whole URL. A request that names no host, as HTTP/1.0 allows, gets 421 too. Default empty:
    /// all hosts.
    ///
    /// Set it for a server on a user's own machine, or in a private network, that does not ask for a login.
    /// Without it, every page in the world can read such a server through the browser of a user nearby, by
    /// *DNS rebinding*: `http://evil.example:8080` first resolves to the attacker's machine, which serves the
    /// page, and a moment later to 127.0.0.1. To the browser both are the same origin. So neither
    /// [`cors`](Self::cors) nor listening on loopback alone protects the server. But the browser still sends
    /// `Host: evil.example:8080`, which no page can change.
    ///
    /// ```
    /// use mio_sse::{Config, Router, Server};
    ///
    /// let mut config = Config::default();
    /// config.hosts = ["localhost", "127.0.0.1", "[::1]"].map(String::from).to_vec();
    /// let server = Server::bind_with("127.0.0.1:0", Router::new(), config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A name with a dot at its end is a different name. A request without a port matches an entry with port
    /// 80 or 443. Behind a proxy, list the host that the proxy passes on; a load balancer whose health checks
    /// name the server's address needs that in the list. The list also applies to connections that are
    /// [adopted](crate::Server::adopt).
    ///
    /// # Cost
    /// Currently each request is compared with all of them, one after the other.
    pub hosts: Vec<String>,

    /// Makes the body of each error that has none of its own, so that an API says in JSON what is wrong,
    /// whatever it is: of [`Reply::status`](crate::Reply::status) from 400 on, of what a
    /// [`Router`](crate::Router) answers where there is no route, of a handler that fails, and of requests
    /// that the server refuses or cannot read. It is given the status and what would be said in plain text,
    /// and its reply's body, type and headers are used, its status is not. Default `None`: plain text.
    ///
    /// ```
    /// # use mio_sse::{Config, Reply};
    /// let mut config = Config::default();
    /// config.error_body = Some(|_status, text| Reply::json_text(serde_json::json!({ "error": text }).to_string()));
    /// ```
    ///
    /// The text may be what a handler said in a [`BadRequest`](crate::BadRequest).
    pub error_body: Option<fn(u16, &str) -> Reply>,

    /// Bytes of a request head, and of what a peer may send while its stream is open. Default 16 KiB:
    /// generous for cookies, too little to hurt. More is answered 431.
    pub head_bytes_max: usize,
    /// Bytes of an event's id. Default 4 KiB, and never more than half of `head_bytes_max`: the client comes
    /// back with it in the head of its request, and is lost for good if that is answered 431. An event with a
    /// longer one is [`Error::IdTooLong`](crate::Error::IdTooLong).
    pub event_id_bytes_max: usize,
    /// Bytes of a request target. Default 8 KiB, the least that RFC 9110 4.1 recommends. More is answered
    /// 414.
    pub target_bytes_max: usize,
    /// Header lines of a request, at most 128. Default 100. More are answered 431.
    pub headers_max: usize,
    /// Bytes of a request body, which is held in memory until it is complete. Default 64 KiB. More is
    /// answered 413.
    pub body_bytes_max: usize,
    /// Time for a complete request head, from the moment the connection is accepted, or from the first byte
    /// on one kept alive. Default 10 s: so a byte now and then does not hold a connection for ever.
    /// One that has begun is answered 408; a connection without a byte is just closed.
    pub head_timeout: Duration,
    /// Time for a complete request body, from the end of the head. Default 30 s: 64 KiB over a line of 20
    /// kbit/s. Too late is answered 408.
    pub body_timeout: Duration,
    /// How long a connection may stay open between two requests. Default 75 s, a little longer than the
    /// proxies' own 60 s, so that it is they who close.
    pub keep_alive_timeout: Duration,

    /// How many requests may wait for a reply that is said [later](crate::Context::later). Default 1024. More
    /// get 503.
    pub late_replies_max: usize,
    /// How long a request waits for such a reply. Default 30 s. Then it gets 504, and the log says so.
    pub late_reply_timeout: Duration,

    /// The longest silence on a stream: after it a comment is sent, so that proxies do not close the
    /// connection and dead peers are found. Default 15 s. A stream that gets events often enough gets no
    /// heartbeats. `None`: never.
    ///
    /// Each costs a `send`: with a million quiet streams the default makes 78,000 a second of them. Make it
    /// minutes there rather than `None`, as a system under pressure may drop what tells of a peer's end.
    ///
    /// `None` is dangerous behind a proxy: many close a connection that is silent for 60 s, and some keep the
    /// stream of a client that has left until something is written to it.
    ///
    /// Where the ids of its topics are [made by the server or are positions](crate::Ids), a stream gets an
    /// `id:` with it: so a client that comes back after a long silence is placed at its end at once.
    pub heartbeat: Option<Duration>,
    /// The name of an event that is sent as heartbeat, with empty data, instead of a comment or a lone id: a
    /// page sees it, and can tell a silent connection from a dead one. Default `None`: nothing that a page
    /// sees.
    ///
    /// Set it for clients that take no notice of an id without data, as npm `eventsource` does: they get the
    /// heartbeat with its id also as the first event of the stream, and come back exactly.
    pub heartbeat_event: Option<Cow<'static, str>>,
    /// How long [`Handler::missed`](crate::Handler::missed) may take where it answers
    /// [later](crate::Missed::Later). Default 30 s. Then the stream is told of a gap, and goes on live.
    pub missed_timeout: Duration,
    /// How long bytes may wait for a peer that takes none of them, of a stream as of any other response.
    /// Default 30 s. The stream is closed with [`CloseReason::Stalled`](crate::CloseReason::Stalled). The
    /// time runs from when the socket first refuses something, and anew each time it takes something, of a
    /// response that is no stream each time it has taken 16 KiB. What the kernel has taken counts as taken,
    /// so a peer that reads nothing is noticed only once the socket is full.
    ///
    /// A stream that has ended has a quarter of [`max_age`](Self::max_age) for what is left of it, or this
    /// time if that is longer, where `max_age` is no shorter than this.
    pub stall_timeout: Duration,
    /// How long a stream may stay open. It is closed cleanly, with
    /// [`CloseReason::MaxAge`](crate::CloseReason::MaxAge), after three quarters of this at the earliest,
    /// different for each, so that streams which came together do not come back together; EventSource
    /// reconnects by itself. At least 100 ms. Default 24 h: a proxy may take the bytes for a client that is
    /// long gone, and then nothing else ever ends the stream. `None`: for ever.
    /// [`StreamReply::max_age`](crate::StreamReply::max_age) sets it for one stream.
    pub max_age: Option<Duration>,
    /// Bytes of events that a topic keeps for streams that read slowly, besides its history, and bytes that
    /// may wait for one stream alone, besides what its [source](crate::Source) has. A stream that needs older
    /// ones is closed with [`CloseReason::Lagged`](crate::CloseReason::Lagged), or
    /// [skips](crate::Overflow::Skip) them. Default 1 MiB.
    ///
    /// Only what a stream was offered and has not taken counts, so a burst may be larger: a stream that goes
    /// on reading has 100 ms at least for what it was offered, and where it would be closed,
    /// [publishers](crate::Publisher) wait meanwhile. What a handler publishes does not wait. A burst may be
    /// 16 times as large as this, as may what one callback sends to one stream.
    ///
    /// While a stream lags, the memory of a topic is at most this, or a burst, and its history and a block of
    /// 64 KiB or 1 MiB. A [keyed](TopicConfig::keyed) one copies together what it still needs only when that
    /// gives back much: it has at most four times the sum of this, its history and the newest event of each
    /// key. One that nobody lags on keeps what it is configured to keep. See the guide
    /// [Slow clients](crate::guide::slow_clients).
    pub lag_bytes_max: usize,
    /// Bytes that the server holds for others, all together: what topics keep and what waits for streams that
    /// lag, what is in the hands of sockets, requests that are not complete, replies that are not taken, and
    /// what publishers and channels have brought. Default 256 MiB, which suits a machine of 1 GiB. It is the
    /// memory that is taken from the allocator, so the process is larger by what that rounds up, some 2 MiB
    /// of buffers, and what connections, topics, timers and tags cost by their number, which other limits
    /// bound. What the kernel holds for sockets is not in it.
    ///
    /// From seven eighths of it on others give way until three quarters are left, in this order. Publishers
    /// wait, for 100 ms at a time. Those who lag furthest are closed or [skip](crate::Overflow::Skip): as if
    /// [`lag_bytes_max`](Self::lag_bytes_max) were half of what it is, then a quarter and so on; so are
    /// connections that hold much of what their peers have sent or do not take. Histories are halved. What is
    /// the newest of its key stays. Where all of it is held, requests are [refused](Self::refuse), also such
    /// as want no stream, and publishing and sending is
    /// [`Error::TooMuchMemory`](crate::Error::TooMuchMemory) in the loop and waits on other threads.
    /// [`Stats::memory`](crate::Stats::memory) says what is held for what. See the guide
    /// [Memory](crate::guide::memory).
    pub memory_max: usize,
    /// How topics behave that are not [configured](crate::Context::configure) by name: what they keep for
    /// streams that come back, and what happens to those that lag. Default: nothing is kept, and who lags is
    /// closed.
    pub topic: TopicConfig,
    /// The name of the event that tells a stream that it has missed some: with the number of them as its
    /// data, where that is known, and no data where not. It comes before everything that the stream gets
    /// next. Default `gap`. `None`: no such event.
    pub gap_event: Option<Cow<'static, str>>,
    /// How hard streams are compressed for clients that take it, which browsers and most libraries do
    /// (`Accept-Encoding: gzip`, RFC 9110 12.5.3): from 1, fast, to 9. Default `None`: not at all. Level 1 is
    /// right where much is published, 6 where bytes cost more than the time of a core.
    ///
    /// What is published to a topic is compressed once, however many streams read it, each event with those
    /// before it in mind: events that resemble each other become small. What is for one stream alone (what is
    /// [sent](crate::Context::send) to it, what it missed, several topics) is compressed by itself, which
    /// saves less; the stream then waits for up to 16 events of its topic before it shares what others get.
    /// So compression is of most use where many streams read one topic each.
    ///
    /// Events arrive as soon as without it. The `gzip` of such a stream ends with the right checksum. Streams
    /// for HTTP/1.0, and those that are [close-delimited](crate::StreamReply::close_delimited), are not
    /// compressed. [`TopicConfig::uncompressed`](crate::TopicConfig::uncompressed) and
    /// [`StreamReply::uncompressed`](crate::StreamReply::uncompressed) are exceptions.
    ///
    /// ```
    /// let mut config = mio_sse::Config::default();
    /// config.gzip = Some(1);
    /// ```
    ///
    /// # Cost
    /// Currently some 0.5 to 5 µs of an event of 200 bytes to 1 KB at level 1, once for all streams; 330 KiB
    /// for each topic that at least two such streams read, up to an eighth of `memory_max` in all, and once
    /// for all others; 8 bytes for each connection.
    #[cfg(feature = "gzip")]
    pub gzip: Option<u8>,
    /// How long a connection that the server has closed on its side waits for the peer to do the same.
    /// Default 2 s. To close at once would destroy what the peer has not read yet. What the peer still sends
    /// is dropped, 1 MiB at most: then it is closed at once.
    pub linger: Duration,
    /// Whether a client that has closed its sending half (`nc -N`, `shutdown(SHUT_WR)`) still gets its
    /// stream. Default `false`: it counts as gone, as that is what an end of the connection nearly always
    /// means.
    pub half_closed: bool,

    /// Messages from [`Publisher`](crate::Publisher)s that wait for the loop. Default 1024. More make the
    /// publisher wait, as do more bytes than an eighth of [`memory_max`](Self::memory_max).
    pub inbox_max: usize,
    /// Connections accepted in one turn at most, so that a storm of them does not hold up the streams.
    /// Default 256.
    pub accepts_per_turn: usize,
    /// Requests answered in one turn at most, shared evenly among the connections that have some, so that
    /// peers which pipeline requests hold up neither each other nor the streams. Default 1024.
    pub requests_per_turn: usize,
    /// Streams served in one turn at most, so that a fan-out does not hold up requests and timers. Default
    /// 1024, which takes about 5 ms.
    pub sends_per_turn: usize,
    /// Timers fired in one turn at most. Default 1024.
    pub timers_per_turn: usize,
    /// A turn that takes longer is counted in [`Stats::slow_turns`](crate::Stats::slow_turns) and, once in
    /// ten seconds, logged as a warning: some callback works too long. Default 100 ms.
    pub slow_turn: Duration,
    /// Whether a panic in a callback of the application ends the loop, by way of
    /// [`Server::turn`](crate::Server::turn). Default `false`: it is logged as an error and ends the stream
    /// or request that the callback was for, and no other. A server that it has ended is of no more use.
    pub propagate_panics: bool,

    /// Silence on a connection after which the kernel asks whether the peer is still there (`SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`), and how long it waits between the questions. Default 60 s: finds the dead also among
    /// those that are sent nothing. `None`: never.
    pub tcp_keepalive: Option<Duration>,
    /// How long the kernel waits for the peer to acknowledge what was sent before it gives the connection up
    /// (`TCP_USER_TIMEOUT`, RFC 5482; Linux only). Default 60 s: longer than a tunnel, shorter than Linux'
    /// own 15 minutes. With heartbeats it bounds how long a peer that died without a word holds its place.
    /// `None`: as the kernel thinks fit.
    pub tcp_user_timeout: Option<Duration>,
    /// Bytes written but not sent that the kernel takes for one connection (`TCP_NOTSENT_LOWAT`; Linux only).
    /// Default 16 KiB: what a slow reader is behind stays in the topic's log, where it is shared, and not in
    /// the kernel, where it is not. `None`: up to the send buffer.
    pub tcp_notsent_lowat: Option<u32>,
    /// Bytes of the kernel's send buffer of one connection (`SO_SNDBUF`; Linux doubles it). Default `None`:
    /// the kernel finds its size, up to some megabytes for a fast line.
    pub send_buffer_bytes: Option<usize>,
    /// How long the kernel keeps a new connection to itself while it has sent nothing (`TCP_DEFER_ACCEPT`;
    /// Linux only, in whole seconds). Default `None`: a connection is accepted as soon as it stands. With
    /// some seconds here, one that sends its request at once, as every HTTP client does, wakes the server
    /// once and not twice: a third less CPU time for each stream that comes. One that sends nothing is
    /// accepted when the time is over, and only then do its time-outs begin; until then it is in no count and
    /// no limit but the kernel's own (`net.ipv4.tcp_max_syn_backlog`).
    pub tcp_defer_accept: Option<Duration>,
}

/// How a stream is refused where there are too many.
///
/// EventSource gives up for good on any status but 200, so a 503 that is meant for a minute is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refuse {
    /// As it suits who asks: [`Soft`](Self::Soft) for a GET that accepts `text/event-stream`, as EventSource
    /// does, and [`Unavailable`](Self::Unavailable) for the rest.
    #[default]
    Auto,
    /// 200 and an event stream that only says when to come again (`retry:`) and ends.
    Soft,
    /// 503 with `Retry-After`.
    Unavailable,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backlog: 4096,
            connections_max: 120_000,
            connections_per_address_max: None,
            requests_per_connection_max: 1000,
            streams_max: 100_000,
            subscriptions_max: 128,
            topics_max: 1_000_000,
            tags_max: 16,
            revoked_max: 1_000_000,
            refuse: Refuse::Auto,
            refuse_retry: Duration::from_secs(10),
            cors: None,
            error_body: None,
            hosts: Vec::new(),
            head_bytes_max: 16 << 10,
            event_id_bytes_max: 4 << 10,
            target_bytes_max: 8 << 10,
            headers_max: 100,
            body_bytes_max: 64 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(75),
            late_replies_max: 1024,
            late_reply_timeout: Duration::from_secs(30),
            heartbeat: Some(Duration::from_secs(15)),
            heartbeat_event: None,
            missed_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            max_age: Some(Duration::from_secs(24 * 60 * 60)),
            lag_bytes_max: 1 << 20,
            memory_max: 256 << 20,
            topic: TopicConfig::default(),
            gap_event: Some(Cow::Borrowed("gap")),
            #[cfg(feature = "gzip")]
            gzip: None,
            linger: Duration::from_secs(2),
            half_closed: false,
            inbox_max: 1024,
            accepts_per_turn: 256,
            requests_per_turn: 1024,
            sends_per_turn: 1024,
            timers_per_turn: 1024,
            slow_turn: Duration::from_millis(100),
            propagate_panics: false,
            tcp_keepalive: Some(Duration::from_secs(60)),
            tcp_user_timeout: Some(Duration::from_secs(60)),
            tcp_notsent_lowat: Some(16 << 10),
            send_buffer_bytes: None,
            tcp_defer_accept: None,
        }
    }
}

/// The shortest time-out that makes sense, and the finest the server keeps: a millisecond.
const TIME_MIN: Duration = Duration::from_millis(1);

/// Times are kept as 32 bits of milliseconds; this leaves room to compare them.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest age: it is kept in hundredths, and those are a millisecond at least.
const AGE_MIN: Duration = Duration::from_millis(100);

/// Less than this holds not even what a few peers send at once.
const MEMORY_MIN: usize = 1 << 20;

impl Config {
    /// The level at which streams are compressed, if they are.
    #[cfg_attr(not(feature = "gzip"), expect(clippy::unused_self, reason = "there is no such limit then"))]
    pub(crate) fn gzip_level(&self) -> Option<u8> {
        #[cfg(feature = "gzip")]
        return self.gzip;
        #[cfg(not(feature = "gzip"))]
        None
    }

    /// Bytes of an id that a client can surely come back with.
    pub(crate) fn id_bytes_max(&self) -> usize {
        self.event_id_bytes_max.min(self.head_bytes_max / 2)
    }

    /// Whether the limits make sense, alone and together. A server is not built with limits that do not.
    ///
    /// # Errors
    /// Says which limit is wrong and what it has to be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("inbox_max", self.inbox_max),
            ("late_replies_max", self.late_replies_max),
            ("accepts_per_turn", self.accepts_per_turn),
            ("requests_per_turn", self.requests_per_turn),
            ("sends_per_turn", self.sends_per_turn),
            ("timers_per_turn", self.timers_per_turn),
            ("lag_bytes_max", self.lag_bytes_max),
            ("event_id_bytes_max", self.event_id_bytes_max),
            ("backlog", self.backlog as usize),
            ("connections_max", self.connections_max),
            ("connections_per_address_max", self.connections_per_address_max.unwrap_or(1)),
            ("streams_max", self.streams_max),
            ("subscriptions_max", self.subscriptions_max),
            ("topics_max", self.topics_max),
            ("tags_max", self.tags_max),
            ("revoked_max", self.revoked_max),
            ("tcp_notsent_lowat", self.tcp_notsent_lowat.unwrap_or(1) as usize),
            ("send_buffer_bytes", self.send_buffer_bytes.unwrap_or(1)),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::new(name, "must not be 0"));
        }
        if !(1..=128).contains(&self.headers_max) {
            return Err(ConfigError::new("headers_max", "must be from 1 to 128"));
        }
        if !(1..=usize::from(u16::MAX)).contains(&self.requests_per_connection_max) {
            return Err(ConfigError::new("requests_per_connection_max", "must be from 1 to 65,535"));
        }
        if self.memory_max < MEMORY_MIN {
            return Err(ConfigError::new("memory_max", "must be at least 1 MiB"));
        }
        if !(256..=1 << 20).contains(&self.head_bytes_max) {
            return Err(ConfigError::new("head_bytes_max", "must be from 256 bytes to 1 MiB"));
        }
        if self.target_bytes_max == 0 || self.target_bytes_max > self.head_bytes_max {
            return Err(ConfigError::new("target_bytes_max", "must be from 1 to head_bytes_max"));
        }
        if self.body_bytes_max > 1 << 30 {
            return Err(ConfigError::new("body_bytes_max", "must be at most 1 GiB"));
        }
        let times = [
            ("refuse_retry", self.refuse_retry),
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("late_reply_timeout", self.late_reply_timeout),
            ("heartbeat", self.heartbeat.unwrap_or(TIME_MAX)),
            ("stall_timeout", self.stall_timeout),
            ("missed_timeout", self.missed_timeout),
            ("linger", self.linger),
            ("slow_turn", self.slow_turn),
            ("tcp_keepalive", self.tcp_keepalive.unwrap_or(TIME_MAX)),
            ("tcp_user_timeout", self.tcp_user_timeout.unwrap_or(TIME_MAX)),
            ("tcp_defer_accept", self.tcp_defer_accept.unwrap_or(TIME_MAX)),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| !(TIME_MIN..=TIME_MAX).contains(time)) {
            return Err(ConfigError::new(name, "must be from 1 ms to 7 days"));
        }
        if self.gzip_level().is_some_and(|level| !(1..=9).contains(&level)) {
            return Err(ConfigError::new("gzip", "must be from 1 to 9"));
        }
        for (limit, name) in [("gap_event", &self.gap_event), ("heartbeat_event", &self.heartbeat_event)] {
            if name.as_ref().is_some_and(|name| name.contains(['\r', '\n'])) {
                return Err(ConfigError::new(limit, "must be one line"));
            }
        }
        if self.max_age.is_some_and(|age| !(AGE_MIN..=TIME_MAX).contains(&age)) {
            return Err(ConfigError::new("max_age", "must be from 100 ms to 7 days"));
        }
        if self.tcp_keepalive.is_some_and(|time| time < Duration::from_secs(1)) {
            return Err(ConfigError::new("tcp_keepalive", "must be at least 1 s"));
        }
        self.cors.as_ref().map_or(Ok(()), Cors::check)?;
        hosts::check(&self.hosts)?;
        self.topic.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 20] = [
            ("inbox_max", |config| config.inbox_max = 0),
            ("sends_per_turn", |config| config.sends_per_turn = 0),
            ("backlog", |config| config.backlog = 0),
            ("headers_max", |config| config.headers_max = 129),
            ("memory_max", |config| config.memory_max = 65_536),
            ("head_bytes_max", |config| config.head_bytes_max = 255),
            ("target_bytes_max", |config| config.target_bytes_max = config.head_bytes_max + 1),
            ("body_bytes_max", |config| config.body_bytes_max = usize::MAX),
            ("heartbeat", |config| config.heartbeat = Some(Duration::ZERO)),
            ("linger", |config| config.linger = Duration::MAX),
            ("streams_max", |config| config.streams_max = 0),
            ("tags_max", |config| config.tags_max = 0),
            ("revoked_max", |config| config.revoked_max = 0),
            ("connections_per_address_max", |config| config.connections_per_address_max = Some(0)),
            ("requests_per_connection_max", |config| config.requests_per_connection_max = 65_536),
            ("max_age", |config| config.max_age = Some(Duration::from_millis(99))),
            ("tcp_keepalive", |config| config.tcp_keepalive = Some(Duration::from_millis(999))),
            ("tcp_user_timeout", |config| config.tcp_user_timeout = Some(Duration::ZERO)),
            ("tcp_defer_accept", |config| config.tcp_defer_accept = Some(Duration::ZERO)),
            ("hosts", |config| config.hosts = vec!["http://localhost".to_owned()]),
        ];
        for (limit, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().limit(), limit);
        }
    }
}
