//! Tags: which streams have them, which are revoked, and all operations on them.

use crate::app::sync;
use crate::model::Model;
use fastrand::Rng;
use mio_sse::{Context, Error};
use std::time::Duration;

/// The tags.
const TAGS: [&str; 5] = ["ann", "bob", "session 1", "session 2", ""];

/// Revoked tags, and the end of each revocation.
#[derive(Default)]
pub(crate) struct Revoked(Vec<(Duration, u8)>);

impl Revoked {
    fn is_revoked(&self, tag: u8, now: Duration) -> bool {
        self.0.iter().any(|(until, revoked)| *revoked == tag && *until >= now)
    }

    fn revoke(&mut self, tag: u8, until: Duration, revoked_max: usize) {
        if self.0.iter().any(|(before, revoked)| *revoked == tag && *before >= until) {
            return;
        }
        self.0.retain(|(_, revoked)| *revoked != tag);
        self.0.push((until, tag));
        if self.0.len() > revoked_max {
            let first = (0..self.0.len()).min_by_key(|at| (self.0[*at].0, TAGS[self.0[*at].1 as usize]));
            self.0.remove(first.unwrap());
        }
    }
}

/// Tags for a stream that is about to be opened.
pub(crate) fn draw_tags(rng: &mut Rng) -> Vec<u8> {
    let mut tags = Vec::new();
    if rng.bool() {
        for _ in 0..rng.u8(1..4) {
            let tag = draw_tag(rng);
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    tags
}

pub(crate) fn name(tag: u8) -> &'static str {
    TAGS[tag as usize]
}

fn draw_tag(rng: &mut Rng) -> u8 {
    rng.u8(..u8::try_from(TAGS.len()).unwrap())
}

impl Model {
    pub(crate) fn is_revoked(&self, tag: u8) -> bool {
        self.revoked.is_revoked(tag, self.now)
    }

    fn carriers(&self, tag: u8) -> Vec<u32> {
        let has = |index: &&u32| self.streams[**index as usize].tags.contains(&tag);
        self.live.iter().filter(has).copied().collect()
    }

    /// Checks the server's lists of tags.
    pub(crate) fn check_tags(&self, cx: &Context<'_>) {
        let mut count = 0;
        for (tag, name) in TAGS.iter().enumerate() {
            let carriers = self.carriers(u8::try_from(tag).unwrap()).len();
            assert_eq!(cx.tagged(name), carriers, "who has the tag {name:?}");
            count += u64::from(carriers > 0);
        }
        assert_eq!(cx.stats().tags, count, "tags are those of some stream");
        let revoked =
            (0..TAGS.len()).filter(|tag| self.is_revoked(u8::try_from(*tag).unwrap())).count() as u64;
        assert!(cx.stats().tags_revoked >= revoked, "revoked tags are remembered");
    }
}

/// Gives the stream a tag, or takes one from it.
pub(crate) fn tag_or_untag(model: &mut Model, index: u32, cx: &mut Context<'_>) {
    let tag = draw_tag(&mut model.rng);
    let stream = &model.streams[index as usize];
    let id = stream.id;
    if model.rng.u8(..4) == 0 {
        let result = cx.untag(id, name(tag));
        if model.accepts(index, &result) {
            model.streams[index as usize].tags.retain(|has| *has != tag);
        }
        return;
    }
    let (live, opened, has) = (stream.live, stream.opened, stream.tags.contains(&tag));
    let full = stream.tags.len() >= model.config.tags_max;
    let result = cx.tag(id, name(tag));
    if live && model.is_revoked(tag) {
        // A stream that is being opened stays usable, and does not open.
        let expected = if opened { Err(Error::Closed) } else { Ok(()) };
        assert_eq!(result, expected, "{tag} is revoked");
        end_revoked(model, index);
        model.counts.revoked_late += u64::from(opened);
    } else if live && full && !has {
        assert_eq!(result, Err(Error::TooManyTags));
        model.counts.tags_met += 1;
    } else if model.accepts(index, &result) && !has {
        model.streams[index as usize].tags.push(tag);
        model.counts.tagged += 1;
    }
}

/// The stream has a revoked tag.
fn end_revoked(model: &mut Model, index: u32) {
    let stream = &mut model.streams[index as usize];
    if stream.opened {
        stream.revoked = true;
        stream.close_requested = true;
        model.end(index);
    } else {
        stream.opening_revoked = true;
    }
}

/// An operation on all streams with a tag.
pub(crate) fn perform_tagged(model: &mut Model, cx: &mut Context<'_>) {
    let tag = draw_tag(&mut model.rng);
    let carriers = model.carriers(tag);
    match model.rng.u8(..16) {
        0 => {
            assert_eq!(cx.close_tagged(name(tag)), carriers.len());
            for index in carriers {
                model.counts.closed_tagged += 1;
                model.streams[index as usize].close_requested = true;
                model.end(index);
            }
        }
        1 | 2 => {
            let time = match model.rng.u8(..8) {
                0 => Duration::ZERO,
                1 => Duration::from_millis(model.rng.u64(..100_000)),
                _ => Duration::from_millis(model.rng.u64(..2_000)),
            };
            model.revoked.revoke(tag, model.now + time, model.config.revoked_max);
            assert_eq!(cx.revoke(name(tag), time), carriers.len());
            for index in carriers {
                model.counts.revoked += 1;
                model.streams[index as usize].tags.retain(|has| *has != tag);
                end_revoked(model, index);
            }
        }
        3 => {
            let was = model.is_revoked(tag);
            assert_eq!(cx.unrevoke(name(tag)), was, "whether {tag} was revoked");
            model.revoked.0.retain(|(_, revoked)| *revoked != tag);
            model.counts.unrevoked += u64::from(was);
        }
        _ => {
            let size = model.size();
            let event = model.for_tagged(&carriers, size);
            let count = cx.send_tagged(name(tag), event).unwrap();
            sync(model, cx);
            let mut left = 0;
            for &index in &carriers {
                // Of those that lag by this, only the open ones are reported.
                let result = cx.untag(model.streams[index as usize].id, "no such tag");
                left += usize::from(model.accepts(index, &result));
            }
            assert_eq!(count, left, "who gets it is counted");
            model.counts.sent_tagged += count as u64;
        }
    }
}
