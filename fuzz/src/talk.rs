//! One connection from its beginning to its end: bytes in pieces to a server, and all that comes of them.

use super::memory_net::{Loop, get};
use super::response::{Response, read_all};
use super::seen::{Seen, check_rules};
use super::twin;
use mio_sse::{CloseReason, Config, Context, Event, Handler, Reply, Request, StreamId};

/// How the bytes travel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pieces<'a> {
    Whole,
    Bytes,
    /// Pieces of these lengths, over and over; the peer has room for this many bytes of answers at a time.
    Lengths(&'a [u8], usize),
}

/// What has come of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Talk {
    pub(crate) seen: Vec<Seen>,
    /// Without interim responses: whether a client is told to go on depends on how much it had sent by then.
    pub(crate) responses: Vec<Response>,
    pub(crate) rejected: bool,
    /// The server has closed its side.
    pub(crate) shut: bool,
    /// What someone heard who listened to the topic all the time.
    pub(crate) heard: Vec<Response>,
}

/// Sends `bytes` in three manners, one of them told by `lengths`: the same must come of them.
pub(crate) fn check_any_pieces(bytes: &[u8], lengths: &[u8], app: &App) -> Talk {
    let whole = talk::<true>(bytes, Pieces::Whole, app);
    let single = talk::<true>(bytes, Pieces::Bytes, app);
    assert_eq!(single, whole, "byte by byte, and in one piece");
    let room = lengths.iter().map(|length| usize::from(*length)).sum::<usize>() + 1;
    let pieces = talk::<false>(bytes, Pieces::Lengths(lengths, room), app);
    assert_eq!(pieces, whole, "in pieces, and in one");
    twin::check(bytes, &whole.seen, &app.config);
    whole
}

pub(crate) fn talk<const SHORT: bool>(bytes: &[u8], pieces: Pieces<'_>, app: &App) -> Talk {
    let handler = Recorder { app: app.clone(), seen: Vec::new(), ended: Vec::new(), opened: 0 };
    let mut world = Loop::<_, SHORT>::with_config(handler, app.config.clone());
    let listener = app.streams.then(|| world.connect());
    if let Some(listener) = &listener {
        listener.write(get("/listen"));
        world.settle();
        world.server.handler().seen.clear();
    }
    let peer = world.connect();
    if let Pieces::Lengths(_, room) = pieces {
        peer.set_room(room);
        peer.set_refill(room);
    }
    world.settle();
    let mut rest = bytes;
    for length in lengths(pieces, bytes.len()) {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        peer.write(piece);
        world.settle();
        rest = behind;
    }

    let seen = world.server.handler().seen.clone();
    let stats = world.server.stats();
    let (rejected, shut) = (stats.rejected > 0, peer.is_shut());
    if rejected || shut {
        // Whatever follows must not be taken for a request.
        peer.write(get("/behind"));
        world.settle();
        assert_eq!(world.server.handler().seen.len(), seen.len(), "nothing is believed behind the end");
    }
    let mut responses = read_all(&peer.read(), seen.iter().map(|seen| seen.method == "HEAD"));
    check_responses(&seen, &mut responses, rejected, shut);
    if rejected && responses.last().is_some_and(|refusal| refusal.body.is_empty()) {
        assert!(bytes.windows(5).any(|method| method == b"HEAD "), "only HEAD is not told why");
    }

    peer.close();
    world.settle();
    assert!(peer.is_closed(), "who leaves is gone");
    let mut heard = Vec::new();
    if let Some(listener) = &listener {
        listener.close();
        world.settle();
        heard = read_all(&listener.read(), []);
        assert!(matches!(heard.as_slice(), [stream] if stream.is_stream() && !stream.ended), "{heard:?}");
    }
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.streams, stats.topics), (0, 0, 0), "nothing is left");
    let handler = world.server.handler();
    assert_eq!(handler.opened, handler.ended.len(), "every stream ends once");
    Talk { seen, responses, rejected, shut, heard }
}

fn lengths(pieces: Pieces<'_>, all: usize) -> impl Iterator<Item = usize> {
    let lengths: Vec<usize> = match pieces {
        Pieces::Whole => vec![all.max(1)],
        Pieces::Bytes => vec![1],
        Pieces::Lengths(lengths, _) => lengths.iter().map(|length| usize::from(*length % 32) + 1).collect(),
    };
    lengths.into_iter().cycle()
}

/// Each request has its response, in their order, and a refusal is the last of all.
fn check_responses(seen: &[Seen], responses: &mut [Response], rejected: bool, shut: bool) {
    assert_eq!(responses.len(), seen.len() + usize::from(rejected), "one response for each request");
    let last = responses.len().saturating_sub(1);
    for (at, response) in responses.iter_mut().enumerate() {
        if let Some(seen) = seen.get(at) {
            let waits = !seen.http_10 && seen.values("Expect").next().is_some();
            assert!(
                response.interim <= usize::from(waits),
                "who waits is told once to go on, and nobody else"
            );
        }
        response.interim = 0;
        assert!(at == last || response.ended && !response.closes(), "nothing comes behind the end");
        assert!(response.ended || response.is_stream(), "only streams have no end");
    }
    let closes = responses.last().is_some_and(Response::closes);
    if rejected {
        let refusal = responses.last().expect("a refusal");
        assert!(shut && closes, "who was refused is shown the door");
        let is_sentence = refusal.body.is_empty() || refusal.body.ends_with('.');
        assert!((400..600).contains(&refusal.status) && is_sentence, "{refusal:?}");
    }
    let open = responses.last().is_some_and(|response| !response.ended);
    assert!(!shut || closes, "a client is told that the connection ends");
    assert!(!closes || shut || open, "what has been told to end ends");
}

/// What the server is, beside the bytes.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) config: Config,
    /// Some paths are streams: see [`Recorder::request`].
    pub(crate) streams: bool,
}

/// Records what it is asked, and returns so that everything it was shown is in the answer.
#[derive(Debug)]
struct Recorder {
    app: App,
    seen: Vec<Seen>,
    opened: usize,
    ended: Vec<StreamId>,
}

impl Handler for Recorder {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        check_rules(request, &self.app.config);
        let seen = Seen::new(request);
        let text = format!("{} {:?} {}", seen.method, seen.path, seen.body.escape_ascii());
        let kind = seen.kind().filter(|_| self.app.streams);
        self.seen.push(seen);
        let me = cx.stream().expect("a request has a stream");
        match kind {
            // Waits for what others publish.
            Some('l') => Reply::stream().topic("all").into(),
            // Says something and ends, within its body and with it.
            Some('e') => {
                cx.send(me, Event::new().data(text)).expect("valid data");
                Reply::stream().topic("all").into()
            }
            // The same for clients that do not know chunks.
            Some('d') => {
                cx.send(me, Event::new().data(text)).expect("valid data");
                Reply::stream().close_delimited().into()
            }
            Some('p') => {
                cx.publish("all", Event::new().data(text)).expect("valid data");
                Reply::no_content()
            }
            Some('b') => Reply::text("large ".repeat(500)),
            Some('r') => Reply::redirect("/"),
            // Ended before it has begun.
            Some('c') => {
                cx.close(me).expect("the stream has just been made");
                Reply::stream().into()
            }
            _ => Reply::text(text),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        self.opened += 1;
        let kind = self.seen.last().and_then(Seen::kind);
        if matches!(kind, Some('e' | 'd')) {
            cx.publish("all", Event::new().data("opened")).expect("valid data");
            cx.close(stream).expect("the stream has just been opened");
        }
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, _cx: &mut Context<'_>) {
        assert!(!self.ended.contains(&stream), "told once");
        assert!(matches!(reason, CloseReason::Application | CloseReason::PeerClosed), "{reason:?}");
        self.ended.push(stream);
    }
}
