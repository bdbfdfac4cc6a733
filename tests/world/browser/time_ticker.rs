//! The page of the example `time_ticker`, clicked as its readers do.

use super::Tab;
use crate::support::Example;

/// State of a panel: its text, its count, and which of its buttons are enabled.
fn panel(name: &str) -> String {
    format!(
        "(() => {{ const part = (id) => document.getElementById('{name}-' + id);
            return {{ state: part('state').dataset.state, count: +part('count').textContent, last: part('last').textContent,
                connect: !part('connect').disabled, disconnect: !part('disconnect').disabled }}; }})()"
    )
}

#[test]
fn both_panels_connect_and_disconnect() {
    let ticker = Example::start("time_ticker");
    let tab = Tab::open(&ticker.url("/"));
    // Time connects by itself, Clock after a click.
    tab.wait_for(&format!("{}.state == 'open' && {0}.count >= 1", panel("time")));
    assert_eq!(tab.run(&panel("clock"))["state"], "closed");
    tab.run("document.getElementById('clock-connect').click()");
    for (name, count) in [("time", 3), ("clock", 12)] {
        tab.wait_for(&format!("{}.state == 'open' && {0}.count >= {count}", panel(name)));
        let open = tab.run(&panel(name));
        assert_eq!((&open["connect"], &open["disconnect"]), (&false.into(), &true.into()), "{open}");
        assert_eq!(open["last"].as_str().unwrap().len(), if name == "time" { 20 } else { 24 }, "{open}");

        tab.run(&format!("document.getElementById('{name}-disconnect').click()"));
        let closed = tab.run(&panel(name));
        assert_eq!(
            (&closed["state"], &closed["connect"], &closed["disconnect"]),
            (&"closed".into(), &true.into(), &false.into())
        );
    }
    // While the clock reconnects and ticks, the time stands still: for more than a second, also if two clocks
    // tick.
    let time = tab.run(&panel("time"));
    let clock = tab.run(&panel("clock"));
    tab.run("document.getElementById('clock-connect').click()");
    tab.wait_for(&format!("{}.count >= {} + 30", panel("clock"), clock["count"]));
    assert_eq!(tab.run(&panel("time")), time);
    assert_eq!(tab.errors(), [""; 0]);
}

#[test]
fn a_stream_that_the_server_closes_reconnects_by_itself() {
    let ticker = Example::start("time_ticker");
    let tab = Tab::open(&ticker.url("/"));
    tab.wait_for(&format!("{}.state == 'reconnecting'", panel("time")));
    let ended = tab.run(&panel("time"));
    assert!((2..=11).contains(&ended["count"].as_u64().unwrap()), "ten seconds, at one a second: {ended}");
    tab.wait_for(&format!("{}.state == 'open' && {0}.count > {}", panel("time"), ended["count"]));
    assert_eq!(tab.errors(), [""; 0]);
}
