//! Every limit and every time-out.

use crate::error::ConfigError;
use crate::http::browser::cors::Cors;
use crate::http::browser::hosts;
use crate::http::reply::reply::Reply;
use crate::topic::history::TopicConfig;
use std::borrow::Cow;
use std::time::Duration;

/// The limits of a server. The defaults suit the open internet.
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
    /// Connections that the kernel queues until the server accepts them (`listen(2)`). The kernel caps it
    /// (Linux: `net.core.somaxconn`). Default 4096: room for many clients that reconnect at once, some of
    /// which a backlog of 128 would turn away.
    pub backlog: u32,

    /// Connections, with or without a stream. Default 120,000: more than `streams_max`, so a server full of
    /// streams still serves other requests. A sixteenth more (at least 8, at most 1,024) are accepted for one
    /// request each: a page is served, a stream is [refused](Self::refuse). Connections beyond that are
    /// closed at once. The process needs a descriptor for each, see `ulimit -n`. If none are left, a few
    /// descriptors held in reserve serve the same purpose.
    pub connections_max: usize,
    /// Connections from one IPv4 address, or one /64 network of IPv6. `None`, the default, is any number,
    /// since behind a reverse proxy all come from one address. Connections beyond it are treated as those
    /// beyond `connections_max`. The limit costs 16 bytes for each connection and 40 for each address.
    pub connections_per_address_max: Option<usize>,
    /// Requests that one connection may carry, at most 65,535. Default 1,000: a connection that closes now
    /// and then lets a load balancer spread its clients again, and costs one handshake in a thousand
    /// requests.
    pub requests_per_connection_max: usize,
    /// Open streams. Default 100,000, which take 7 MB here and some 400 MB in the kernel. More are
    /// [refused](Self::refuse).
    pub streams_max: usize,
    /// Topics that one stream may read. Default 128: each delivery to a stream that reads several looks at
    /// all of them. A stream that asks for more gets 400; [`Context::subscribe`](crate::Context::subscribe)
    /// returns [`Error::TooManySubscriptions`](crate::Error::TooManySubscriptions).
    pub subscriptions_max: usize,
    /// Topics that have a subscriber or retain events. Default 1,000,000, some 200 bytes each. A stream that
    /// asks for one more is [refused](Self::refuse). [`Context::subscribe`](crate::Context::subscribe)
    /// returns [`Error::TooManyTopics`](crate::Error::TooManyTopics), and so does
    /// [`Context::publish`](crate::Context::publish) to a topic that would retain the event.
    pub topics_max: usize,
    /// Tags that one stream may have. Default 16: adding or removing one looks at all of them. A stream that
    /// asks for more gets 400; [`Context::tag`](crate::Context::tag), which says what a tag costs, returns
    /// [`Error::TooManyTags`](crate::Error::TooManyTags).
    pub tags_max: usize,
    /// Tags that are [revoked](crate::Context::revoke) at a time. Default 1,000,000, some 150 bytes each. If
    /// there are more, the revocation that would expire first is dropped.
    pub revoked_max: usize,
    /// How a stream is refused when there are too many. Default [`Refuse::Auto`].
    pub refuse: Refuse,
    /// How long a refused client should wait before it tries again, sent as `retry:` or `Retry-After`. Each
    /// gets a different delay between once and twice this, so they do not all come at once. Default 10 s.
    pub refuse_retry: Duration,

    /// Which pages of other origins may read replies. Default `None`: none, unless handlers add the headers
    /// themselves. With `Some`, the server adds the headers to all replies and answers preflights; see
    /// [`Cors`].
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

    /// Makes the body of each error reply that has none, so an API can describe all errors in JSON. It
    /// applies to [`Reply::status`](crate::Reply::status) from 400 on, to paths for which a
    /// [`Router`](crate::Router) has no route, to handlers that fail, and to requests that the server refuses
    /// or cannot read. The function gets the status and the plain text. Body, type and headers of its reply
    /// are used, its status is not. Default `None`: plain text.
    ///
    /// ```
    /// # use mio_sse::{Config, Reply};
    /// let mut config = Config::default();
    /// config.error_body = Some(|_status, text| Reply::json_text(serde_json::json!({ "error": text }).to_string()));
    /// ```
    ///
    /// The text may be that of a handler's [`BadRequest`](crate::BadRequest).
    pub error_body: Option<fn(u16, &str) -> Reply>,

    /// Bytes of a request head, and bytes that a client may send while its stream is open. Default 16 KiB:
    /// generous for cookies, too little to hurt. A larger head gets 431.
    pub head_bytes_max: usize,
    /// Bytes of an event's id. Default 4 KiB, and never more than half of `head_bytes_max`: a client sends it
    /// in the head of its request when it reconnects, and would give up for good on a 431. Publishing an
    /// event with a longer id returns [`Error::IdTooLong`](crate::Error::IdTooLong).
    pub event_id_bytes_max: usize,
    /// Bytes of a request target. Default 8 KiB, the least that RFC 9110 4.1 recommends. A longer one gets
    /// 414.
    pub target_bytes_max: usize,
    /// Header lines of a request, at most 128. Default 100. A request with more gets 431.
    pub headers_max: usize,
    /// Bytes of a request body, which is held in memory until it is complete. Default 64 KiB. A larger one
    /// gets 413.
    pub body_bytes_max: usize,
    /// Time for a complete request head, from when the connection was accepted, or from the first byte of a
    /// later request. Default 10 s: a client that sends a byte now and then cannot hold a connection for
    /// ever. A head that has begun gets 408; a connection that has sent nothing is just closed.
    pub head_timeout: Duration,
    /// Time for a complete request body, from the end of the head. Default 30 s: 64 KiB over a line of 20
    /// kbit/s. A body that takes longer gets 408.
    pub body_timeout: Duration,
    /// How long a connection may stay open between two requests. Default 75 s, a little longer than the 60 s
    /// of most proxies, so the proxy closes first.
    pub keep_alive_timeout: Duration,

    /// Requests that may wait for a [later](crate::Context::later) reply. Default 1024. More get 503.
    pub late_replies_max: usize,
    /// How long a request waits for a later reply. Default 30 s. Then it gets 504, which is logged.
    pub late_reply_timeout: Duration,

    /// The longest silence on a stream. The server sends a comment in time, so proxies do not close the
    /// connection and dead clients are found. Default 15 s. A stream that gets events often enough gets no
    /// heartbeats. `None`: never.
    ///
    /// Each heartbeat costs a `send`: with a million quiet streams the default makes 78,000 a second. Prefer
    /// minutes to `None` there, because a loaded system may drop the packets that say that a client has left.
    ///
    /// `None` is dangerous behind a proxy: many close a connection that is silent for 60 s, and some keep the
    /// stream of a client that has left until something is written to it.
    ///
    /// If the ids of a stream's topics are [made by the server or are positions](crate::Ids), a heartbeat
    /// carries an `id:`. A client that reconnects after a long silence then resumes at the end at once.
    pub heartbeat: Option<Duration>,
    /// The name of an event with empty data that is sent as heartbeat, instead of a comment or a lone id. A
    /// page sees it, and can tell a silent connection from a dead one. Default `None`: pages do not see
    /// heartbeats.
    ///
    /// Set it for clients that ignore an id without data, such as npm `eventsource`. They also get the
    /// heartbeat with its id as the first event of the stream, so they resume exactly.
    pub heartbeat_event: Option<Cow<'static, str>>,
    /// How long [`Handler::missed`](crate::Handler::missed) may take if it returns
    /// [`Missed::Later`](crate::Missed::Later). Default 30 s. Then the stream gets a `gap` event and
    /// continues live.
    pub missed_timeout: Duration,
    /// How long bytes of a response may wait for a client that takes none of them. Default 30 s. Then the
    /// connection is closed with [`CloseReason::Stalled`](crate::CloseReason::Stalled). The time runs from
    /// when the socket first refuses bytes, and restarts each time it takes some: for a stream any number,
    /// for any other response 16 KiB. Bytes in the kernel's buffer count as taken, so a client that reads
    /// nothing is noticed only once the socket is full.
    ///
    /// A stream that has ended has a quarter of [`max_age`](Self::max_age) for what is left to write, or this
    /// time if that is longer. This holds if `max_age` is no shorter than this.
    pub stall_timeout: Duration,
    /// How long a stream may stay open. It is closed cleanly, with
    /// [`CloseReason::MaxAge`](crate::CloseReason::MaxAge), at an age from three quarters of this on that
    /// differs between streams, so clients that connected together do not reconnect together. EventSource
    /// reconnects by itself. At least 100 ms. Default 24 h: a proxy may take the bytes for a client that has
    /// left, and then nothing else ever closes the stream. `None`: for ever.
    /// [`StreamReply::max_age`](crate::StreamReply::max_age) sets it for one stream.
    pub max_age: Option<Duration>,
    /// Bytes of events that a topic retains for slow streams, besides its history. Also the bytes that may
    /// wait for one stream alone, besides the events in its [source](crate::Source). A stream that needs
    /// older events is closed with [`CloseReason::Lagged`](crate::CloseReason::Lagged), or
    /// [skips](crate::Overflow::Skip) them. Default 1 MiB.
    ///
    /// A burst may be larger. Only events that were offered to a stream and not taken count. A stream that
    /// goes on reading has at least 100 ms for them; if it would be closed, [publishers](crate::Publisher)
    /// wait in the meantime. Handlers do not wait: they may publish up to 16 times this in a burst, and one
    /// callback may send as much to one stream.
    ///
    /// While a stream lags, a topic takes at most this or the size of a burst, plus its history and a block
    /// of 64 KiB or 1 MiB. A [keyed](TopicConfig::keyed) topic compacts its log only when that frees much
    /// memory: it takes at most four times the sum of this, its history and the newest event of each key. A
    /// topic without slow streams retains only what it is configured to retain. See the guide [Slow
    /// clients](crate::guide::slow_clients).
    pub lag_bytes_max: usize,
    /// Bytes that the server holds for others, in total: logs of topics, events that wait for slow streams,
    /// bytes that wait for sockets, incomplete requests, replies that were not taken, and messages of
    /// publishers and channels. Default 256 MiB, which suits a machine of 1 GiB. It counts the memory
    /// requested from the allocator. The process is larger by the allocator's rounding, some 2 MiB of
    /// buffers, and the records of connections, topics, timers and tags, which other limits bound. Socket
    /// buffers in the kernel are not counted.
    ///
    /// Above seven eighths of it the server frees memory until less than three quarters are in use, in this
    /// order. Publishers wait, for 100 ms at a time. The streams that lag furthest are closed or
    /// [skip](crate::Overflow::Skip), as if [`lag_bytes_max`](Self::lag_bytes_max) were a half, then a
    /// quarter and so on; connections that hold much input or unread output are closed too. Histories are
    /// halved. The newest event of each key stays. If all of it is in use, all requests are
    /// [refused](Self::refuse); publishing and sending returns
    /// [`Error::TooMuchMemory`](crate::Error::TooMuchMemory) in the loop and waits on other threads.
    /// [`Stats::memory`](crate::Stats::memory) lists the memory by use. See the guide
    /// [Memory](crate::guide::memory).
    pub memory_max: usize,
    /// Configuration of topics that are not [configured](crate::Context::configure) by name: what they retain
    /// for clients that reconnect, and what happens to streams that lag. Default: they retain nothing, and
    /// streams that lag are closed.
    pub topic: TopicConfig,
    /// The name of the event that tells a stream that it has missed events. Its data is their number if
    /// known, else empty. It precedes everything else that the stream gets. Default `gap`. `None`: no such
    /// event.
    pub gap_event: Option<Cow<'static, str>>,
    /// The gzip level of streams, from 1 (fast) to 9, for clients that accept it (`Accept-Encoding: gzip`,
    /// RFC 9110 12.5.3), as browsers and most libraries do. Default `None`: no compression. Use level 1 if
    /// you publish much, 6 if bytes cost more than CPU time.
    ///
    /// Events of a topic are compressed once, however many streams read it. Each refers back to those before
    /// it, so similar events become small. This needs at least two streams that read the topic and no other.
    /// After it got bytes of its own, a stream needs up to 16 events of its topic before it shares compressed
    /// events again.
    ///
    /// Everything else is compressed separately for each stream and turn: the events of a topic with one
    /// reader or of a stream with several topics, events [sent](crate::Context::send) to one stream, events
    /// that it missed, and those of a [source](crate::Source). That saves bytes if they are large or many,
    /// and none if they are small: an event of 70 bytes becomes a little larger.
    ///
    /// Do not compress secrets beside text that a stranger can choose (BREACH): see
    /// [`TopicConfig::uncompressed`](crate::TopicConfig::uncompressed).
    ///
    /// It delays no event. A compressed stream that is closed cleanly ends with the right checksum. Streams
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
    /// Currently some 0.5 to 5 µs for an event of 200 bytes to 1 KB at level 1, once for all streams. 330 KiB
    /// for each topic that at least two compressed streams read, up to an eighth of `memory_max` in total,
    /// and 330 KiB for all other topics together. 8 bytes for each connection.
    #[cfg(feature = "gzip")]
    pub gzip: Option<u8>,
    /// How long a connection that the server has shut down waits for the peer to close its side. Default 2 s.
    /// Closing at once could destroy bytes that the peer has not read yet. Input that still arrives is
    /// dropped; after 1 MiB of it the connection is closed at once.
    pub linger: Duration,
    /// Whether a client that has closed its sending half (`nc -N`, `shutdown(SHUT_WR)`) still gets its
    /// stream. Default `false`: it counts as disconnected, which is what the end of input nearly always
    /// means.
    pub half_closed: bool,

    /// Messages from [`Publisher`](crate::Publisher)s that wait for the loop. Default 1024. If there are
    /// more, or if they take more than an eighth of [`memory_max`](Self::memory_max), publishers wait.
    pub inbox_max: usize,
    /// Connections accepted in one turn at most. Default 256. It keeps a rush of new clients from delaying
    /// the streams.
    pub accepts_per_turn: usize,
    /// Requests handled in one turn at most, shared evenly among the connections that have some. Default
    /// 1024. It keeps clients that pipeline requests from delaying each other or the streams.
    pub requests_per_turn: usize,
    /// Streams served in one turn at most. Default 1024, which takes about 5 ms. It keeps a fan-out from
    /// delaying requests and timers.
    pub sends_per_turn: usize,
    /// Timers fired in one turn at most. Default 1024.
    pub timers_per_turn: usize,
    /// A turn that takes longer is counted in [`Stats::slow_turns`](crate::Stats::slow_turns) and logged as a
    /// warning, at most once in ten seconds: some callback takes too long. Default 100 ms.
    pub slow_turn: Duration,
    /// Whether a panic in a callback of the application propagates out of
    /// [`Server::turn`](crate::Server::turn). Default `false`: it is logged as an error and ends only the
    /// stream or request that the callback was for. After a panic has propagated, the server cannot be used
    /// again.
    pub propagate_panics: bool,

    /// Silence on a connection after which the kernel probes whether the peer is still there (`SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`), and the time between probes. Default 60 s: this also finds dead peers that are sent
    /// nothing. `None`: never.
    pub tcp_keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged before the kernel drops the connection
    /// (`TCP_USER_TIMEOUT`, RFC 5482; Linux only). Default 60 s: longer than a train in a tunnel, shorter
    /// than the 15 minutes of Linux. With heartbeats it bounds how long a peer that vanished keeps its
    /// connection. `None`: the kernel's default.
    pub tcp_user_timeout: Option<Duration>,
    /// Unsent bytes that the kernel buffers for one connection (`TCP_NOTSENT_LOWAT`; Linux only). Default 16
    /// KiB: the backlog of a slow client stays in the topic's log, which is shared, and not in the kernel.
    /// `None`: up to the send buffer.
    pub tcp_notsent_lowat: Option<u32>,
    /// Bytes of the kernel's send buffer of one connection (`SO_SNDBUF`; Linux doubles it). Default `None`:
    /// the kernel adapts its size, up to some megabytes for a fast line.
    pub send_buffer_bytes: Option<usize>,
    /// How long the kernel holds back a new connection that has sent nothing (`TCP_DEFER_ACCEPT`; Linux only,
    /// in whole seconds). Default `None`: a connection is accepted as soon as it is established. With some
    /// seconds here, a client that sends its request at once, as every HTTP client does, wakes the server
    /// once and not twice. That saves a third of the CPU time for each new stream. A connection that sends
    /// nothing is accepted when the time is over; only then do its time-outs begin. Until then only the
    /// kernel's own limit counts it (`net.ipv4.tcp_max_syn_backlog`).
    pub tcp_defer_accept: Option<Duration>,
}

/// How a stream is refused when there are too many.
///
/// EventSource gives up for good on any status but 200, even on a 503 that is meant for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Refuse {
    /// [`Soft`](Self::Soft) for a GET that accepts `text/event-stream`, as EventSource sends, else
    /// [`Unavailable`](Self::Unavailable).
    #[default]
    Auto,
    /// 200 and an event stream that holds only `retry:` and ends.
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

/// The shortest time-out: the server's times have a resolution of a millisecond.
const TIME_MIN: Duration = Duration::from_millis(1);

/// The longest time-out. Times are stored as milliseconds in 32 bits; this leaves room to compare them.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest `max_age`: ages are stored in hundredths of it, each at least a millisecond.
const AGE_MIN: Duration = Duration::from_millis(100);

/// The smallest `memory_max`. Less would not hold what a few clients send at once.
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

    /// Bytes of an id that fits into the head of a client's next request.
    pub(crate) fn id_bytes_max(&self) -> usize {
        self.event_id_bytes_max.min(self.head_bytes_max / 2)
    }

    /// Checks the limits, alone and together. A server cannot be built with invalid limits.
    ///
    /// # Errors
    /// Names the first invalid limit and its range.
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
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn invalid_limits_are_named() {
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
