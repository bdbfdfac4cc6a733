//! Traits that types promise to have: a change here breaks programs.

use mio_sse::{
    Answer, CloseReason, Config, Cors, Drain, Error, Event, EventSender, Events, Missed, NotAdopted,
    Publisher, Pull, RawRequest, Refusal, Reply, Responder, Router, Routes, Server, Stats, StreamId,
    StreamReply, TimerId, TopicConfig,
};

#[test]
fn types_are_send_and_sync_as_documented() {
    fn send<T: Send>() {}
    fn both<T: Send + Sync + 'static>() {}
    // A server is built in one thread and run in another; replies come from any.
    send::<Server<Router>>();
    send::<Router<Vec<u8>>>();
    send::<Reply>();
    send::<StreamReply>();
    send::<Answer>();
    send::<Pull>();
    both::<Publisher>();
    // Even if the state is not `Send`.
    both::<Publisher<std::rc::Rc<()>>>();
    both::<Responder<std::rc::Rc<()>>>();
    both::<Responder>();
    both::<EventSender>();
    both::<Event<'static>>();
    both::<Events<std::vec::IntoIter<String>>>();
    both::<Routes<u8>>();
    both::<Config>();
    both::<(Cors, TopicConfig, Drain, RawRequest)>();
    both::<(Stats, StreamId, TimerId, CloseReason, Refusal, Missed)>();
    both::<(Error, mio_sse::BadRequest, mio_sse::ConfigError, NotAdopted)>();
}
