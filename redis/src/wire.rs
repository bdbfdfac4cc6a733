//! Commands for Redis, and the meaning of its replies.

use crate::reader::{Ask, Told};
use crate::record::{At, Entry, Record};
use crate::writer::Reply;
use mio_sse::Position;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, cmd, pipe};
use std::time::Duration;

/// How long Redis blocks a read that waits for entries.
pub(crate) const BLOCK: Duration = Duration::from_secs(5);

/// The commands for `ask`.
pub(crate) fn ask(key: &str, kept: usize, ask: &Ask) -> Pipeline {
    let mut pipe = pipe();
    match ask {
        Ask::Newest { before, count } => {
            let before = before.map_or("+".to_owned(), |before| format!("({before}"));
            pipe.cmd("XREVRANGE").arg(key).arg(before).arg("-").arg("COUNT").arg(*count);
        }
        Ask::Behind { after, count, waits } => {
            let after = after.to_string();
            let read = pipe.cmd("XREAD").arg("COUNT").arg(*count);
            if *waits {
                read.arg("BLOCK").arg(BLOCK.as_millis().to_string());
            }
            read.arg("STREAMS").arg(key).arg(&after);
            pipe.cmd("XRANGE").arg(key).arg(&after).arg(&after).arg("COUNT").arg(1);
        }
        Ask::Add { at, record } => {
            pipe.add_command(add(key, kept, *at, record));
        }
    }
    pipe
}

/// The command that writes an entry.
pub(crate) fn add(key: &str, kept: usize, at: At, record: &Record) -> Cmd {
    let at = match at {
        At::Ms(ms) => format!("{ms}-*"),
        At::Any => "*".to_owned(),
    };
    let mut add = cmd("XADD");
    add.arg(key).arg("MAXLEN").arg("~").arg(kept).arg(at);
    for (name, value) in record.fields() {
        add.arg(name).arg(&*value);
    }
    add
}

/// The meaning of the replies to [`ask`].
///
/// # Errors
///
/// The error of Redis, or that the reply does not match the command.
pub(crate) fn told(ask: &Ask, replies: Vec<RedisResult<Value>>) -> Result<Told, String> {
    let mut replies = replies.into_iter();
    let mut next = || {
        let reply = replies.next().ok_or("Redis has not replied to all commands")?;
        reply.map_err(|error| error.to_string())
    };
    match ask {
        Ask::Newest { .. } => Ok(Told::Newest(entries(next()?)?)),
        Ask::Behind { .. } => {
            let read = match next()? {
                Value::Nil => Vec::new(),
                Value::Array(mut streams) if streams.len() == 1 => match streams.remove(0) {
                    Value::Array(stream) => stream.into_iter().nth(1).map_or(Ok(Vec::new()), entries)?,
                    other => return Err(no_reply(&other)),
                },
                Value::Map(mut streams) if streams.len() == 1 => entries(streams.remove(0).1)?,
                other => return Err(no_reply(&other)),
            };
            Ok(Told::Behind { entries: read, there: entries(next()?)?.pop() })
        }
        Ask::Add { .. } => match reply(replies.next().unwrap_or(Ok(Value::Nil))) {
            Reply::Written(position) => Ok(Told::Added(Some(position))),
            Reply::TooEarly => Ok(Told::Added(None)),
            Reply::Refused(problem) | Reply::Unavailable(problem) => Err(problem),
        },
    }
}

/// The meaning of the reply to [`add`].
pub(crate) fn reply(value: RedisResult<Value>) -> Reply {
    match value {
        Ok(value) => match position(&value) {
            Some(position) => Reply::Written(position),
            None => Reply::Unavailable(no_reply(&value)),
        },
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &RedisError) -> Reply {
    let problem = error.to_string();
    if problem.contains("equal or smaller than the target stream top item") {
        Reply::TooEarly
    } else if matches!(error.code(), Some("WRONGTYPE" | "NOPERM" | "NOAUTH")) {
        Reply::Refused(problem)
    } else {
        Reply::Unavailable(problem)
    }
}

fn entries(value: Value) -> Result<Vec<Entry>, String> {
    match value {
        Value::Array(entries) => entries.into_iter().map(entry).collect(),
        Value::Nil => Ok(Vec::new()),
        other => Err(no_reply(&other)),
    }
}

fn entry(value: Value) -> Result<Entry, String> {
    let Value::Array(parts) = value else { return Err(no_reply(&value)) };
    let mut parts = parts.into_iter();
    let position = parts.next().as_ref().and_then(position).ok_or("an entry has no id")?;
    let mut fields = Vec::new();
    let mut texts = match parts.next() {
        Some(Value::Array(texts)) => texts.into_iter(),
        // The entry was deleted.
        _ => Vec::new().into_iter(),
    };
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        fields.push((bytes(name)?, bytes(value)?));
    }
    Ok(Entry { position, fields })
}

fn bytes(value: Value) -> Result<Vec<u8>, String> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        other => Err(no_reply(&other)),
    }
}

fn position(value: &Value) -> Option<Position> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

fn no_reply(value: &Value) -> String {
    format!("unexpected reply of Redis: {value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::What;
    use mio_sse::Event;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str) -> Value {
        Value::Array(vec![text(id), Value::Array(vec![text("topic"), text("news")])])
    }

    #[test]
    fn each_ask_is_written_as_commands() {
        let text = |pipe: Pipeline| {
            let packed = String::from_utf8(pipe.get_packed_pipeline()).unwrap();
            let words = packed.split("\r\n").filter(|word| !word.starts_with(['*', '$']) || word.len() == 1);
            words.collect::<Vec<_>>().join(" ")
        };
        let newest = |before| text(ask("k", 9, &Ask::Newest { before, count: 5 }));
        assert_eq!(newest(None).trim(), "XREVRANGE k + - COUNT 5");
        assert_eq!(newest(Some(Position::new(7, 1))).trim(), "XREVRANGE k (7-1 - COUNT 5");
        let behind = |waits| text(ask("k", 9, &Ask::Behind { after: Position::new(7, 1), count: 5, waits }));
        assert_eq!(behind(false).trim(), "XREAD COUNT 5 STREAMS k 7-1 XRANGE k 7-1 7-1 COUNT 1");
        assert_eq!(behind(true).trim(), "XREAD COUNT 5 BLOCK 5000 STREAMS k 7-1 XRANGE k 7-1 7-1 COUNT 1");
        let what = What::Event { topics: vec!["a".into(), "b".into()], event: Event::new().data("x") };
        let record = Record { what, nonce: None };
        let add = |at| text(ask("k", 9, &Ask::Add { at, record: record.clone() }));
        assert_eq!(add(At::Ms(3)).trim(), "XADD k MAXLEN ~ 9 3-* topic a topic b data x");
    }

    #[test]
    fn replies_of_both_protocols_are_read() {
        let behind = Ask::Behind { after: Position::new(1, 0), count: 5, waits: true };
        let there = Value::Array(vec![entry("1-0")]);
        let parsed = |ms| {
            let fields = vec![(b"topic".to_vec(), b"news".to_vec())];
            Entry { position: Position::new(ms, 0), fields }
        };
        let streams = [
            Value::Array(vec![Value::Array(vec![text("k"), Value::Array(vec![entry("2-0")])])]),
            Value::Map(vec![(text("k"), Value::Array(vec![entry("2-0")]))]),
        ];
        for read in streams {
            let told = told(&behind, vec![Ok(read), Ok(there.clone())]);
            let (entries, there) = (vec![parsed(2)], Some(parsed(1)));
            assert_eq!(told, Ok(Told::Behind { entries, there }));
        }
        let nothing = told(&behind, vec![Ok(Value::Nil), Ok(Value::Array(vec![]))]);
        assert_eq!(nothing, Ok(Told::Behind { entries: vec![], there: None }));
        for strange in [
            vec![],
            vec![Value::Nil],
            vec![Value::Int(1), Value::Nil],
            vec![Value::Array(vec![Value::Int(1)]), Value::Nil],
        ] {
            assert!(told(&behind, strange.into_iter().map(Ok).collect()).is_err());
        }
        assert_eq!(reply(Ok(text("3-1"))), Reply::Written(Position::new(3, 1)));
        assert!(matches!(reply(Ok(Value::Int(3))), Reply::Unavailable(_)));
    }
}
