//! Conversion of an event into an entry of the stream, and back.

use mio_sse::{Event, Position};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// An entry of the Redis stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub position: Position,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The writer's name and count, if the entry has them.
    pub(crate) fn nonce(&self) -> Option<Nonce> {
        let nonce = self.fields.iter().rev().find(|(name, _)| name == b"nonce");
        nonce.and_then(|(_, value)| Nonce::parse(str::from_utf8(value).ok()?))
    }
}

/// The position at which an entry is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `<ms>-*`: within this millisecond.
    Ms(u64),
    /// `*`: after the last entry.
    Any,
}

/// Identifies an entry: its writer, and the number of entries the writer has written before. An entry that
/// was written twice has the same nonce twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    pub writer: u64,
    pub count: u64,
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.writer, self.count)
    }
}

impl Nonce {
    fn parse(text: &str) -> Option<Self> {
        let (writer, count) = text.split_once('-')?;
        Some(Self { writer: u64::from_str_radix(writer, 16).ok()?, count: count.parse().ok()? })
    }
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub what: What,
    pub nonce: Option<Nonce>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Event {
        topics: Vec<String>,
        event: Event<'static>,
    },
    /// A topic is finished.
    Finish(String),
    /// A mark: entries before this one were lost.
    Broken,
}

/// An entry that this crate cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Record {
    /// The fields of an entry, as [`read`](Self::read) expects them.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let mut fields = Vec::new();
        match &self.what {
            What::Event { topics, event } => {
                fields.extend(topics.iter().map(|topic| ("topic", Cow::from(topic))));
                let texts = [
                    ("event", &event.event),
                    ("data", &event.data),
                    ("key", &event.key),
                    ("comment", &event.comment),
                ];
                let texts =
                    texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?.into())));
                fields.extend(texts);
                fields.extend(event.retry.map(|retry| ("retry", retry.as_millis().to_string().into())));
                fields.extend(event.removes_key.then_some(("removal", "1".into())));
            }
            What::Finish(topic) => fields.extend([("topic", topic.into()), ("finish", "1".into())]),
            What::Broken => fields.push(("broken", "1".into())),
        }
        fields.extend(self.nonce.map(|nonce| ("nonce", nonce.to_string().into())));
        fields
    }

    /// Reads the fields of an entry. Unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: there is no topic, a text is not UTF-8, or `retry` is not a number.
    pub fn read(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, Malformed> {
        let mut topics = Vec::new();
        let (mut event, mut nonce) = (Event::new(), None);
        let (mut finishes, mut is_broken) = (false, false);
        for (name, value) in fields {
            let text = || match str::from_utf8(value) {
                Ok(text) => Ok(text.to_owned()),
                Err(_) => Err(Malformed("a field is not UTF-8")),
            };
            match &**name {
                b"topic" => topics.push(text()?),
                b"event" => event.event = Some(text()?.into()),
                b"data" => event.data = Some(text()?.into()),
                b"key" => event.key = Some(text()?.into()),
                b"comment" => event.comment = Some(text()?.into()),
                b"retry" => {
                    let ms =
                        text()?.parse().map_err(|_| Malformed("retry is not a number of milliseconds"))?;
                    event.retry = Some(Duration::from_millis(ms));
                }
                b"removal" => event.removes_key = true,
                b"finish" => finishes = true,
                b"broken" => is_broken = true,
                b"nonce" => nonce = str::from_utf8(value).ok().and_then(Nonce::parse),
                _ => {}
            }
        }
        let what = match topics.pop() {
            _ if is_broken => What::Broken,
            None => return Err(Malformed("there is no topic")),
            Some(topic) if finishes => What::Finish(topic),
            Some(topic) => {
                topics.push(topic);
                What::Event { topics, event }
            }
        };
        Ok(Self { what, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        of.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn back(record: &Record) -> Result<Record, Malformed> {
        let written = record.fields();
        Record::read(&fields(&written.iter().map(|(name, text)| (*name, &**text)).collect::<Vec<_>>()))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let event =
            Event::removal("k").event("name").data("one\ntwo").comment("c").retry(Duration::from_millis(7));
        let nonce = Some(Nonce { writer: u64::MAX, count: 3 });
        let topics = vec!["a".to_owned(), "b".to_owned()];
        for what in [
            What::Event { topics, event },
            What::Event { topics: vec![String::new()], event: Event::new().data("") },
            What::Finish("t".to_owned()),
            What::Broken,
        ] {
            let record = Record { what, nonce };
            let written = record.fields();
            let fields = fields(&written.iter().map(|(name, text)| (*name, &**text)).collect::<Vec<_>>());
            assert_eq!(Entry { position: Position::default(), fields }.nonce(), nonce);
            assert_eq!(back(&record), Ok(record));
        }
    }

    #[test]
    fn unknown_fields_of_other_writers_are_ignored() {
        let read =
            Record::read(&fields(&[("who", "x"), ("topic", "news"), ("data", "hello"), ("nonce", "?")]));
        let event = Event::new().data("hello");
        assert_eq!(
            read,
            Ok(Record { what: What::Event { topics: vec!["news".into()], event }, nonce: None })
        );
        assert_eq!(Record::read(&[]), Err(Malformed("there is no topic")));
        assert!(Record::read(&fields(&[("topic", "t"), ("retry", "soon")])).is_err());
        assert!(Record::read(&[(b"topic".to_vec(), vec![0xff])]).is_err());
    }
}
