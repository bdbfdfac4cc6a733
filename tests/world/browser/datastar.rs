//! The page of the example `datastar`: elements and signals, patched by one stream.

use super::{Tab, other_errors, restart};
use crate::support::{Example, eventually};
use crate::wire::Wire;
use serde_json::json;

const OPTIONS: [&str; 3] = ["Ferry", "Night train", "Bicycle"];

/// Waits until the page shows these options with these votes, matching bars, and the sum.
fn shows(tab: &Tab, options: &[(&str, u64)]) {
    let shown = "[[...document.querySelectorAll('#options li')].map((option) => [
            option.querySelector('button').textContent, +option.querySelector('span').textContent,
            Math.round(parseFloat(option.querySelector('.bar div').style.width))
        ]), +document.getElementById('total').textContent]";
    let total: u64 = options.iter().map(|(_, votes)| votes).sum();
    let percent = |votes: u64| (200 * votes / total.max(1)).div_ceil(2);
    let expected: Vec<_> =
        options.iter().map(|(name, votes)| json!([name, votes, percent(*votes)])).collect();
    let expected = json!([expected, total]);
    eventually(&format!("{expected} is shown"), || {
        let shown = tab.run(shown);
        if shown == expected { Ok(()) } else { Err(shown.to_string()) }
    });
}

fn state(tab: &Tab, state: &str) {
    tab.wait_for(&format!("document.getElementById('state').textContent == '{state}'"));
}

fn vote(tab: &Tab, option: usize) {
    tab.run(&format!("document.querySelector('#option-{option} button').click()"));
}

/// Types a new option and sends it.
fn add(tab: &Tab, name: &str) {
    tab.run(&format!(
        "var field = document.querySelector('input'); field.value = {};
         field.dispatchEvent(new InputEvent('input', {{ bubbles: true }})); field.form.requestSubmit()",
        json!(name)
    ));
}

fn people(tab: &Tab, count: usize) {
    tab.wait_for(&format!("document.getElementById('people').textContent == '{count}'"));
}

#[test]
fn all_tabs_show_one_poll() {
    let example = Example::start("datastar");
    let tabs = [(); 3].map(|()| Tab::open(&example.url("/")));
    for tab in &tabs {
        state(tab, "live");
        people(tab, 3);
        shows(tab, &OPTIONS.map(|name| (name, 0)));
    }
    for (tab, option) in [(0, 1), (1, 1), (2, 2), (0, 1)] {
        vote(&tabs[tab], option);
    }
    for tab in &tabs {
        shows(tab, &[("Ferry", 0), ("Night train", 3), ("Bicycle", 1)]);
    }
    // A new option leaves the others as they are, including their computed values.
    let strange = r#"<b>"On foot" & 'home'</b>"#;
    add(&tabs[0], strange);
    tabs[0].wait_for("field.value == ''");
    for tab in &tabs {
        shows(tab, &[("Ferry", 0), ("Night train", 3), ("Bicycle", 1), (strange, 0)]);
    }
    vote(&tabs[1], 3);
    let now = [("Ferry", 0), ("Night train", 3), ("Bicycle", 1), (strange, 1)];
    for tab in &tabs {
        shows(tab, &now);
    }
    // Only the page that sent an invalid option gets the error.
    add(&tabs[1], "Bicycle");
    tabs[1].wait_for(
        "document.getElementById('problem').checkVisibility() && problem.textContent.startsWith('There is')",
    );
    assert_eq!(tabs[1].run("field.value"), "Bicycle");
    assert_eq!(tabs[0].run("document.getElementById('problem').checkVisibility()"), false);
    add(&tabs[1], "Bus");
    tabs[1].wait_for("field.value == '' && !document.getElementById('problem').checkVisibility()");

    let late = Tab::open(&example.url("/"));
    shows(&late, &[now[0], now[1], now[2], now[3], ("Bus", 0)]);
    people(&tabs[0], 4);
    drop(late);
    people(&tabs[0], 3);
    for tab in &tabs {
        assert_eq!(tab.errors(), [""; 0]);
    }
}

/// datastar closes the stream of a hidden page, and reopens it later.
#[test]
fn a_hidden_tab_catches_up_when_it_is_shown() {
    let example = Example::start("datastar");
    let first = Tab::open(&example.url("/"));
    state(&first, "live");
    people(&first, 1);
    let second = first.another(&example.url("/"));
    first.wait_for("document.hidden");
    people(&second, 1);
    vote(&second, 1);
    shows(&second, &[("Ferry", 0), ("Night train", 1), ("Bicycle", 0)]);
    assert_eq!(first.run("document.getElementById('total').textContent"), "0");
    first.call("Page.bringToFront", &json!({}));
    shows(&first, &[("Ferry", 0), ("Night train", 1), ("Bicycle", 0)]);
    people(&first, 1);
    state(&first, "live");
    for tab in [&first, &second] {
        assert_eq!(tab.errors(), [""; 0]);
    }
}

#[test]
fn a_page_that_was_cut_off_shows_what_it_has_missed() {
    let example = Example::start("datastar");
    let (wire, here) = (Wire::to(example.address), Tab::open(&example.url("/")));
    let away = Tab::open(&wire.url("/"));
    shows(&here, &OPTIONS.map(|name| (name, 0)));
    let mut expected = OPTIONS.map(|name| (name.to_owned(), 0)).to_vec();
    for round in 0..3 {
        state(&away, "live");
        wire.cut();
        state(&away, "reconnecting");
        add(&here, &format!("new {round}"));
        expected.push((format!("new {round}"), 1));
        here.wait_for(&format!("document.getElementById('option-{}') != null", expected.len() - 1));
        vote(&here, expected.len() - 1);
        vote(&here, 0);
        expected[0].1 += 1;
        wire.mend();
        let expected: Vec<_> = expected.iter().map(|(name, votes)| (&**name, *votes)).collect();
        for tab in [&here, &away] {
            shows(tab, &expected);
        }
    }
    assert_eq!((here.errors(), other_errors(&away)), (vec![], vec![]));
}

#[test]
fn pages_of_a_restarted_server_reconnect_and_show_its_state() {
    let mut example = Example::start("datastar");
    let wire = Wire::to(example.address);
    let tab = Tab::open(&wire.url("/"));
    for proxy in [false, true] {
        state(&tab, "live");
        add(&tab, "Bus");
        tab.wait_for("document.getElementById('option-3') != null");
        vote(&tab, 3);
        let bicycle = u64::from(proxy);
        shows(&tab, &[("Ferry", 0), ("Night train", 0), ("Bicycle", bicycle), ("Bus", 1)]);
        example = restart(example, "datastar", &wire, proxy, || state(&tab, "reconnecting"));
        let other = Tab::open(&example.url("/"));
        shows(&other, &OPTIONS.map(|name| (name, 0)));
        vote(&other, 2);
        state(&tab, "live");
        for tab in [&tab, &other] {
            shows(tab, &[("Ferry", 0), ("Night train", 0), ("Bicycle", 1)]);
            people(tab, 2);
        }
        assert_eq!(other.errors(), [""; 0]);
    }
    assert_eq!(other_errors(&tab), [""; 0]);
}
