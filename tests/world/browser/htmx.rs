//! The page of the example `htmx`, with its SSE extension.

use super::{Tab, other_errors, restart};
use crate::support::{Example, eventually};
use crate::wire::Wire;
use serde_json::json;

/// Waits until the page shows exactly this list, newest first, and the right number of items beside it.
#[track_caller]
fn shows(tab: &Tab, items: &[&str]) {
    let shown = "[[...document.querySelectorAll('#list li > span')].map((item) => item.textContent),
        +document.getElementById('items').textContent]";
    let expected = json!([items, items.len()]);
    eventually(&format!("{expected} is shown"), || {
        let shown = tab.run(shown);
        if shown == expected { Ok(()) } else { Err(shown.to_string()) }
    });
}

fn is_live(tab: &Tab) {
    tab.wait_for("document.getElementById('state').textContent == 'live'");
}

/// Types an item, and waits until the form is empty again.
fn add(tab: &Tab, text: &str) {
    tab.run(&format!(
        "var field = document.querySelector('input'); field.value = {}; field.form.requestSubmit()",
        json!(text)
    ));
    tab.wait_for("field.value == ''");
}

/// Presses the button of an item.
fn buy(tab: &Tab, text: &str) {
    let button = format!(
        "[...document.querySelectorAll('#list button')].find(({{ ariaLabel }}) => ariaLabel == {})",
        json!(format!("Bought: {text}"))
    );
    tab.wait_for(&format!("{button} != undefined"));
    tab.run(&format!("{button}.click()"));
}

fn people(tab: &Tab, count: usize) {
    tab.wait_for(&format!("document.getElementById('people').textContent == '{count}'"));
}

#[test]
fn all_tabs_show_one_list() {
    let example = Example::start("htmx");
    let first = Tab::open(&example.url("/"));
    let tabs = [first.another(&example.url("/")), Tab::open(&example.url("/")), first];
    for tab in &tabs {
        is_live(tab);
        people(tab, 3);
    }
    add(&tabs[0], "Milk");
    add(&tabs[1], r#"<b>"Tea" & 'cake'</b>"#);
    add(&tabs[2], "Salt");
    for tab in &tabs {
        shows(tab, &["Salt", r#"<b>"Tea" & 'cake'</b>"#, "Milk"]);
    }
    buy(&tabs[1], r#"<b>"Tea" & 'cake'</b>"#);
    for tab in &tabs {
        shows(tab, &["Salt", "Milk"]);
    }
    // A new client sees the present items, and one that has left is no longer counted.
    let late = Tab::open(&example.url("/"));
    shows(&late, &["Salt", "Milk"]);
    people(&tabs[0], 4);
    drop(late);
    people(&tabs[0], 3);
    buy(&tabs[2], "Salt");
    buy(&tabs[2], "Milk");
    for tab in &tabs {
        shows(tab, &[]);
        tab.wait_for("document.getElementById('empty').checkVisibility()");
        assert_eq!(tab.errors(), [""; 0]);
    }
}

#[test]
fn an_item_that_is_bought_as_soon_as_it_is_there_does_not_stay() {
    let example = Example::start("htmx");
    let tabs = [(); 2].map(|()| Tab::open(&example.url("/")));
    for tab in &tabs {
        is_live(tab);
    }
    tabs[0].run(
        "for (let id = 1; id <= 30; id += 1) {
            await fetch('/items', { method: 'POST', body: new URLSearchParams({ text: `item ${id}` }) });
            if (id != 15) await fetch(`/items/${id}`, { method: 'DELETE' });
        }",
    );
    for tab in &tabs {
        shows(tab, &["item 15"]);
        assert_eq!(tab.errors(), [""; 0]);
    }
}

#[test]
fn a_page_that_was_cut_off_has_missed_nothing_and_shows_nothing_twice() {
    let example = Example::start("htmx");
    let (wire, here) = (Wire::to(example.address), Tab::open(&example.url("/")));
    let away = Tab::open(&wire.url("/"));
    add(&here, "Milk");
    add(&here, "Tea");
    for round in 0..3 {
        is_live(&away);
        shows(&away, &["Tea", "Milk"]);
        wire.cut();
        away.wait_for("document.getElementById('state').textContent == 'reconnecting'");
        let (new, short) = (format!("new {round}"), format!("bought at once {round}"));
        buy(&here, "Milk");
        shows(&here, &["Tea"]);
        add(&here, &short);
        shows(&here, &[&short, "Tea"]);
        buy(&here, &short);
        shows(&here, &["Tea"]);
        add(&here, &new);
        shows(&here, &[&new, "Tea"]);
        wire.mend();
        shows(&away, &[&new, "Tea"]);
        // As before, for the next round.
        buy(&away, &new);
        buy(&away, "Tea");
        shows(&away, &[]);
        add(&away, "Milk");
        add(&away, "Tea");
    }
    assert_eq!((here.errors(), other_errors(&away)), (vec![], vec![]));
}

#[test]
fn pages_of_a_restarted_server_reconnect_and_show_its_state() {
    let mut example = Example::start("htmx");
    let wire = Wire::to(example.address);
    let tab = Tab::open(&wire.url("/"));
    // An error page makes EventSource give up; the extension makes another.
    for proxy in [false, true] {
        is_live(&tab);
        add(&tab, "Milk");
        add(&tab, "Tea");
        shows(&tab, &["Tea", "Milk"]);
        example = restart(example, "htmx", &wire, proxy, || {
            tab.wait_for("document.getElementById('state').textContent == 'reconnecting'");
        });
        let other = Tab::open(&example.url("/"));
        add(&other, "Salt");
        add(&other, "Sugar");
        shows(&tab, &["Sugar", "Salt"]);
        is_live(&tab);
        people(&tab, 2);
        buy(&tab, "Sugar");
        buy(&other, "Salt");
        for tab in [&tab, &other] {
            shows(tab, &[]);
        }
        assert_eq!(other.errors(), [""; 0]);
    }
    assert_eq!(other_errors(&tab), [""; 0]);
}
