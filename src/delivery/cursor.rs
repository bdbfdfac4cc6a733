//! A stream's whole delivery state, and the walk that moves it: one order over all the logs a stream reads.

use crate::topic::block::Block;
use crate::topic::frame::{Frame, Framing};
use crate::topic::log::{Log, Place, Run};

/// What a batch holds at most where it has to be copied together.
const COPY_BYTES_MAX: usize = 64 << 10;

/// How far a stream has been served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Everything up to this has been given to it, or is not for it.
    pub(crate) sequence: u64,
    /// The bytes of the next frame, in the stream's framing, that are on the wire already.
    pub(crate) partial: u32,
}

/// One log that a stream reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) log: &'a Log,
    /// The stream reads from behind this frame on, whatever its cursor says: what was published before it subscribed
    /// is not for it.
    pub(crate) from: u64,
}

/// The log no longer holds what should come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FellOff;

/// Bytes to be sent next, and what they mean for the cursor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    frames: &'a [Frame],
    base: u32,
}

/// Where sending a part of a batch has brought a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advance {
    pub(crate) cursor: Cursor,
    /// The events that are completely sent by now.
    pub(crate) events: u64,
}

impl<'a> Batch<'a> {
    /// The bytes of a run, of which `partial` have been sent already.
    pub(crate) fn of_run(run: Run<'a>, partial: u32) -> Self {
        Self { bytes: &run.bytes[partial as usize..], frames: run.frames, base: run.base + partial }
    }

    /// The frames that were copied into `block`.
    pub(crate) fn of_copy(block: &'a Block) -> Self {
        Self { bytes: &block.bytes, frames: &block.frames, base: 0 }
    }

    /// Whether there is nothing to do. A batch may have frames but no bytes: the end of a close-delimited stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Where `cursor`, for which the batch was made, stands after `sent` bytes of it.
    pub(crate) fn advance(&self, cursor: Cursor, sent: usize) -> Advance {
        debug_assert!(sent <= self.bytes.len());
        let sent = u32::try_from(sent).unwrap_or(u32::MAX);
        let whole = self.frames.partition_point(|frame| frame.end - self.base <= sent);
        let events = self.frames[..whole].iter().filter(|frame| frame.kind.event).count() as u64;
        let (given, partial) = match whole.checked_sub(1).map(|last| self.frames[last]) {
            None => (cursor.sequence, cursor.partial + sent),
            Some(last) => (last.sequence, sent - (last.end - self.base)),
        };
        let sequence = match self.frames.get(whole) {
            // Right before the frame that is begun: it has to be found again whatever becomes of those in front of it.
            Some(begun) if partial > 0 => begun.sequence - 1,
            _ => given,
        };
        Advance { cursor: Cursor { sequence, partial }, events }
    }
}

/// The next bytes for a stream that stands at `cursor` and reads `sources`: everything in the order of the sequence,
/// whichever log it lies in.
///
/// Where it lies in one piece of one log and needs no other framing, that very piece; else a copy in `scratch` of at
/// most 64 KiB, or of one frame where that is larger. Nothing behind the frame `until` is for this stream, which is the
/// newest frame of one of the sources. Who is not `behind` gets what is superseded as well.
pub(crate) fn next_batch<'a>(
    sources: &[Source<'a>],
    cursor: Cursor,
    behind: bool,
    until: u64,
    framing: Framing,
    scratch: &'a mut Block,
) -> Result<Batch<'a>, FellOff> {
    let mut alone: Option<(&Log, usize, usize)> = None;
    let mut several = false;
    for source in sources {
        match source.log.place(cursor.sequence.max(source.from)) {
            Place::End => {}
            Place::FellOff => return Err(FellOff),
            Place::Before { block, frame } => {
                several |= alone.is_some();
                alone = Some((source.log, block, frame));
            }
        }
    }
    scratch.clear();
    match alone {
        None => Ok(Batch::of_copy(scratch)),
        Some((log, block, frame))
            if !several && framing == Framing::Chunked && !(behind && log.is_conflated()) =>
        {
            Ok(Batch::of_run(log.run(block, frame), cursor.partial))
        }
        Some(_) => {
            merge(sources, cursor, behind, until, framing, scratch);
            Ok(Batch::of_copy(scratch))
        }
    }
}

/// Copies frames in order of their sequence until `scratch` is full. None of the sources has been fallen off.
///
/// What lies in one piece is copied in one piece: whoever comes back gets a head of its own and then a long run of one log.
fn merge(
    sources: &[Source<'_>],
    cursor: Cursor,
    behind: bool,
    until: u64,
    framing: Framing,
    scratch: &mut Block,
) {
    let all = !behind;
    let mut after = cursor.sequence;
    let mut skip = cursor.partial as usize;
    while scratch.bytes.len() < COPY_BYTES_MAX && after < until {
        let mut next: Option<Run<'_>> = None;
        // The frame of another log before which this run has to stop.
        let mut limit = u64::MAX;
        for source in sources {
            let after = after.max(source.from);
            // A frame that was begun is completed, also when it was superseded meanwhile.
            let run = if skip > 0 || all { source.log.next(after) } else { source.log.next_current(after) };
            let Some(mut run) = run else { continue };
            match &mut next {
                None => next = Some(run),
                Some(found) => {
                    if run.first().sequence < found.first().sequence {
                        std::mem::swap(found, &mut run);
                    }
                    limit = limit.min(run.first().sequence);
                }
            }
        }
        let Some(run) = next else { return };
        let room = COPY_BYTES_MAX - scratch.bytes.len();
        let more = run.frames.windows(2).take_while(|pair| {
            let full = (pair[0].end - run.base) as usize >= room;
            !full && pair[1].sequence < limit && (all || !pair[1].is_conflated())
        });
        let run = run.cut(1 + more.count());
        copy(run, skip, framing, scratch);
        after = scratch.last();
        skip = 0;
    }
}

/// Copies a run, of which `skip` bytes have been sent already, behind what there is in `scratch`.
fn copy(run: Run<'_>, mut skip: usize, framing: Framing, scratch: &mut Block) {
    match framing {
        Framing::Chunked => {
            let sent = u32::try_from(skip).unwrap_or(u32::MAX);
            scratch.push_all(run.frames, run.base + sent, &run.bytes[skip..]);
        }
        Framing::CloseDelimited => {
            let mut start = run.base;
            for frame in run.frames {
                let bytes = &run.bytes[(start - run.base) as usize..(frame.end - run.base) as usize];
                scratch.push(frame.sequence, &framing.bytes_of(frame.kind, bytes)[skip..], frame.kind);
                start = frame.end;
                skip = 0;
            }
        }
    }
}

/// A run in close-delimited framing, made once for all streams that need it.
pub(crate) fn unwrap_run(run: Run<'_>, scratch: &mut Block) {
    scratch.clear();
    copy(run, 0, Framing::CloseDelimited, scratch);
}
