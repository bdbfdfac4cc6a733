use super::*;
use eventsource_stream::EventStream;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;

fn encoded(event: &Event<'_>) -> String {
    String::from_utf8(event.encode().unwrap()).unwrap()
}

#[test]
fn every_kind_of_line_break_makes_one_new_data_line() {
    assert_eq!(encoded(&Event::new().data("a\nb\rc\r\nd")), "data: a\ndata: b\ndata: c\ndata: d\n\n");
    assert_eq!(encoded(&Event::new().data("\r\n\r\n")), "data: \ndata: \ndata: \n\n");
    assert_eq!(encoded(&Event::new().data("\n\r")), "data: \ndata: \ndata: \n\n");
}

#[test]
fn events_are_made_of_text_and_can_be_read() {
    let text = String::from("x");
    let borrowed = Event::new().data(&text).event("a").id("1").comment("c").key("k").retry(Duration::ZERO);
    assert!(matches!(borrowed.data, Some(Cow::Borrowed("x"))));
    let again = Event::from(&borrowed);
    assert!(matches!((&again, &again.id), (event, Some(Cow::Borrowed("1"))) if *event == borrowed));
    let owned: Event<'static> = borrowed.clone().into_owned();
    assert_eq!(owned, borrowed);
    assert!(matches!(owned.key, Some(Cow::Owned(_))));
    let all = [Event::from("x"), (&text).into(), text.clone().into(), Cow::Borrowed("x").into()];
    assert!(all.iter().all(|event| *event == Event::new().data("x")));
    let gone = Event::removal("k").event("gone");
    assert_eq!((gone.key_and_end(), encoded(&gone)), (Some(("k", true)), "event: gone\ndata: \n\n".into()));
    assert!(Event::from(&gone).removes_key && gone.into_owned().removes_key);
}

#[test]
fn empty_data_is_still_data() {
    assert_eq!(encoded(&Event::new().data("")), "data: \n\n");
}

#[test]
fn comments_cannot_smuggle_fields() {
    assert_eq!(encoded(&Event::new().comment("x\rdata: y")), ": x\n: data: y\n");
}

#[test]
fn a_lone_id_moves_the_client_without_an_event() {
    assert_eq!(encoded(&Event::new().id("7")), "id: 7\n\n");
    assert_eq!(encoded(&Event::new().id("")), "id: \n\n");
}

#[test]
fn invalid_events_are_refused_and_write_nothing() {
    let refused = [
        (Event::new().data("x").event("a\nb"), EventError::LineBreakInName),
        (Event::new().data("x").event("a\r"), EventError::LineBreakInName),
        (Event::new().data("x").id("1\n"), EventError::ControlInId),
        (Event::new().data("x").id("\r1"), EventError::ControlInId),
        (Event::new().data("x").id("1\0"), EventError::ControlInId),
        (Event::new().data("x").id("a\tb"), EventError::ControlInId),
        (Event::new().data("x").id("\u{7f}"), EventError::ControlInId),
        (Event::new().data("x").id("\u{1b}"), EventError::ControlInId),
        (Event::new().data("x").id(" 1"), EventError::SpaceAroundId),
        (Event::new().data("x").id("1 "), EventError::SpaceAroundId),
        (Event::new().id(" "), EventError::SpaceAroundId),
        (Event::new().event("ping"), EventError::NameWithoutData),
        (Event::new(), EventError::Empty),
        (Event::new().data("x".repeat(EVENT_BYTES_MAX)), EventError::TooLarge),
        (Event::new().data("\n".repeat(EVENT_BYTES_MAX / 4)), EventError::TooLarge),
    ];
    for (event, error) in refused {
        let mut out = b"before".to_vec();
        assert_eq!(event.encode_into(&mut out), Err(error));
        assert_eq!(out, b"before");
    }
}

/// The data as a client reads it: each line break is LF.
fn normalized(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("\r".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just(":".to_owned()),
            Just(" ".to_owned()),
            Just("\u{feff}".to_owned()),
            Just("data: x".to_owned()),
            any::<char>().prop_map(String::from),
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    /// An independent parser reads back what was encoded.
    #[test]
    fn a_parser_reads_what_was_written(
        data in text(), name in proptest::option::of(text()), id in proptest::option::of(text()),
        comment in proptest::option::of(text()), retry in proptest::option::of(0_u64..1 << 40),
    ) {
        let mut event = Event::new().data(data.clone());
        if let Some(name) = &name { event = event.event(name.clone()); }
        if let Some(id) = &id { event = event.id(id.clone()); }
        if let Some(comment) = comment { event = event.comment(comment); }
        if let Some(retry) = retry { event = event.retry(Duration::from_millis(retry)); }
        let Ok(bytes) = event.encode() else {
            let breaks = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(['\r', '\n']));
            let lost = |id: &String| id.chars().any(|c| c.is_ascii_control()) || id.trim_matches(' ') != id;
            prop_assert!(breaks(&name) || id.as_ref().is_some_and(lost));
            return Ok(());
        };
        // The parser ends when its input does: a second event shows that the first was complete.
        let input = [bytes, b"data: end\n\n".to_vec()].concat();
        let parsed: Vec<_> = block_on(
            EventStream::new(stream::iter([Ok::<_, std::convert::Infallible>(input)])).collect::<Vec<_>>(),
        );
        prop_assert_eq!(parsed.len(), 2);
        let first = parsed[0].as_ref().unwrap();
        prop_assert_eq!(&first.data, &normalized(&data));
        prop_assert_eq!(&first.event, name.as_deref().filter(|name| !name.is_empty()).unwrap_or("message"));
        prop_assert_eq!(&first.id, &id.unwrap_or_default());
        prop_assert_eq!(first.retry, retry.map(Duration::from_millis));
    }
}
