//! Several loops where they could part: what one does while others do something else, and when they end.

use mio_sse::{Config, Error, Router, Shards};
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

#[test]
fn loops_that_wait_for_each_other_are_told_and_do_not_wait() {
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut shards = Shards::listen(mio_sse::Listeners::new(), 2, |_| Router::new(), config).unwrap();
    let publisher = shards.publisher();
    let of_loops: Vec<_> = shards.servers().iter().map(|server| server.publisher()).collect();
    let running = thread::spawn(move || shards.run());
    let (answer, answered) = channel();
    let (asks, both) = (publisher.clone(), Barrier::new(2));
    thread::spawn(move || {
        let answers = asks.ask_all(move |_cx| {
            both.wait();
            let asked: Vec<_> = of_loops.iter().map(|other| other.ask(|_cx| ())).collect();
            let put: Vec<_> = of_loops
                .iter()
                .map(|other| {
                    _ = other.run(|_cx| ());
                    other.run(|_cx| ())
                })
                .collect();
            both.wait();
            (asked, put)
        });
        answer.send(answers)
    });
    let answers = answered.recv_timeout(Duration::from_secs(20)).expect("the loops wait for each other");
    let full = || vec![Err(Error::Full); 2];
    assert_eq!(answers, Ok(vec![(full(), full()); 2]));
    publisher.run(|cx| cx.stop()).unwrap();
    running.join().unwrap().unwrap();
}
