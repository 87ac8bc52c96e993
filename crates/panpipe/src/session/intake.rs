//! What has come in of a connection and has not been dealt with, and where more comes
//! from.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use panpipe_transport::buffer::{Assembly, FrameBuf, Inbox, Prefix};
use panpipe_transport::{BypassWriter, PipeReader};

use super::admitted::Admitted;
use super::close::CloseReason;
use super::core::Core;
use super::message::{Header, Kind, MAGIC, parse_header, unreadable};
use super::outlet::Inlet;
use crate::clock::Clock;
use crate::limits;

/// The reading side of a connection.
pub(super) struct Intake {
    pub(super) inlet: Inlet,
    pub(super) inbox: Inbox,
    clock: Clock,
    /// What has come by the way by which it does not read now.
    elsewhere: Option<Box<Inbox>>,
    magic_seen: bool,
    /// The frame that is being read straight to where it, or the message that it is
    /// a part of, is put together.
    diverted: Option<Box<Header>>,
    /// A message that came in parts and has not been dealt with.
    whole: Option<Box<(Header, FrameBuf)>>,
    /// What the stream ended or failed with; nothing more is read.
    pub(super) end: Option<Box<CloseReason>>,
    /// Whether frames that have come were left to the driver.
    pub(super) held_up: bool,
}

/// Who deals with what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// With all of it.
    Driver,
    /// With what comes all the time: calls, replies, and items of streams.
    Leader,
    /// With what of that runs no code of the user's.
    Caller,
}

/// How far what has come has been dealt with.
pub(super) enum Step {
    /// A call that is the frame last peeked at.
    Call(Admitted),
    /// A call that stands alone: it came in parts.
    Whole(Admitted, Box<FrameBuf>),
    /// The peer's hello has been taken.
    Opened,
    /// The peer has made a bypass: its end that is written.
    Bypass(BypassWriter),
    /// To the end of what has come.
    Done,
    /// What is next is left to a reader that may deal with it.
    Wait,
}

impl Intake {
    pub(super) fn new(inlet: Inlet, clock: Clock) -> Self {
        let (magic_seen, diverted, whole, end, held_up) = (false, None, None, None, false);
        let (inbox, elsewhere) = (Inbox::default(), None);
        Intake { inlet, inbox, clock, elsewhere, magic_seen, diverted, whole, end, held_up }
    }

    /// Whether a thread that waits reads, before the driver is polled.
    #[inline]
    pub(super) fn is_blocking(&self) -> bool {
        matches!(self.inlet, Inlet::Blocking(_))
    }

    /// Reads once, into the inbox.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.poll_fill(cx, Pin::new(&mut self.inlet))
    }

    /// Notes what has been read: frames that are to be taken, or the end.
    #[inline]
    pub(super) fn has_read(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => {
                self.end = Some(Box::new(match self.inbox.eof() {
                    Ok(()) => CloseReason::Closed,
                    Err(_) => CloseReason::Truncated,
                }));
            }
            Ok(_) => self.held_up = true,
            Err(error) => self.end = Some(Box::new(CloseReason::lost(&error))),
        }
    }

    /// Whether it waits awake, to be polled again.
    #[inline]
    pub(super) fn is_awake(&self) -> bool {
        matches!(&self.inlet, Inlet::Pipe(reader) if reader.is_awake())
    }

    /// Looks for bytes for a moment, and takes them into the inbox. Whether there were any.
    #[inline]
    pub(super) fn look(&mut self) -> bool {
        self.fill(|reader, bytes| reader.look(bytes))
    }

    /// Deals with what a caller may: replies, and items of streams. The rest is held up.
    pub(super) fn take_replies(&mut self, core: &mut Core) {
        if self.end.is_none() {
            self.held_up = !matches!(self.step(core, Reader::Caller), Step::Done);
        }
    }

    /// Looks no more: the driver is woken again when something comes. Whether something
    /// has come before that.
    #[inline]
    pub(super) fn listens(&mut self) -> bool {
        self.fill(|reader, bytes| match reader.listens(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        })
    }

    /// Has `read` read into the inbox. Whether it has.
    fn fill(&mut self, read: impl FnOnce(&mut PipeReader, &mut [u8]) -> Option<io::Result<usize>>) -> bool {
        let Inlet::Pipe(reader) = &mut self.inlet else { return false };
        let read = |bytes: &mut [u8]| read(reader, bytes).map_or(Poll::Pending, Poll::Ready);
        let Poll::Ready(read) = self.inbox.fill(read) else { return false };
        self.has_read(read);
        true
    }

    /// Whether the driver is to [prepare](Self::prepares) it for more looks.
    pub(super) fn is_to_prepare(&self) -> bool {
        matches!(&self.inlet, Inlet::Pipe(reader) if reader.is_to_prepare())
    }

    /// Makes looks cheaper; to be followed by a poll.
    pub(super) fn prepares(&mut self) {
        if let Inlet::Pipe(reader) = &mut self.inlet {
            reader.prepares();
        }
    }

    /// Whether the rest of a frame is to come.
    pub(super) fn has_begun(&self) -> bool {
        self.diverted.is_some()
    }

    /// Whether the driver has to see to it.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up || self.end.is_some()
    }

    /// Deals with the frames in the inbox, up to one that calls something.
    #[inline]
    pub(super) fn step(&mut self, core: &mut Core, by: Reader) -> Step {
        let Intake { inlet, inbox, elsewhere, magic_seen, diverted, whole, .. } = self;
        let clock = self.clock;
        let mut now = || clock.now();
        loop {
            if core.is_over() {
                inbox.clear();
                return Step::Done;
            }
            if !*magic_seen {
                match inbox.strip_prefix(&MAGIC) {
                    Prefix::Stripped => *magic_seen = true,
                    Prefix::Incomplete => return Step::Done,
                    Prefix::Mismatch => {
                        core.not_panpipe();
                        return Step::Done;
                    }
                }
            }
            if let Some(message) = whole {
                if by != Reader::Driver && !is_for_callers(message.0.kind) {
                    return Step::Wait;
                }
                match whole.take().and_then(|whole| receive_whole(core, *whole, &mut now)) {
                    Some(call) => return call,
                    None => continue,
                }
            }
            if diverted.is_some() {
                let Some(message) = inbox.take_diverted() else { return Step::Done };
                let header = *diverted.take().expect("what is diverted has a header");
                *whole = match header.kind {
                    Kind::Part | Kind::LastPart => core.put_incomplete(header, message),
                    _ => Some((header, message.into_frame())),
                }
                .map(Box::new);
                continue;
            }
            let frame = match inbox.peek_frame(core.max_frame_in()) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    if !inbox.is_empty() {
                        *diverted = divert(core, inbox).map(Box::new);
                    }
                    return Step::Done;
                }
                Err(error) => {
                    core.violation(&error.to_string());
                    return Step::Done;
                }
            };
            let Some(header) = parse_header(frame) else {
                core.violation(&unreadable(frame));
                return Step::Done;
            };
            if header.kind == Kind::Reply {
                match core.receive_reply(header, frame) {
                    Some((place, part)) => inbox.take_frame_into(part, place),
                    None => inbox.consume_frame(),
                }
                continue;
            }
            if matches!(header.kind, Kind::Part | Kind::LastPart) {
                let Some(mut message) = core.take_incomplete(header) else { continue };
                message.append(&frame[header.body..]);
                inbox.consume_frame();
                *whole = core.put_incomplete(header, message).map(Box::new);
                continue;
            }
            if header.kind == Kind::Item {
                if core.is_special(header, frame) {
                    let item = inbox.take_frame();
                    core.receive_item(header, item);
                } else {
                    core.receive_small_item(header, frame);
                    inbox.consume_frame();
                }
                continue;
            }
            let is_call = matches!(header.kind, Kind::Call | Kind::Oneway);
            if by == Reader::Caller || (by == Reader::Leader && !is_call) {
                return Step::Wait;
            }
            if is_call && core.is_open() {
                if let Some(incoming) = core.receive_call(header, frame, &mut now) {
                    return Step::Call(Admitted::of(core, incoming));
                }
                inbox.consume_frame();
                continue;
            }
            if matches!(header.kind, Kind::Bypass | Kind::Switch) {
                inbox.consume_frame();
                match follow(core, inlet, header, (inbox, elsewhere)) {
                    Some(writer) => return Step::Bypass(writer),
                    None => continue,
                }
            }
            core.receive(header, frame, &mut now);
            inbox.consume_frame();
            if header.kind == Kind::Hello && core.is_open() {
                return Step::Opened;
            }
        }
    }
}

/// Takes up the bypass that the peer has made, or goes on by the other way: with what has
/// come by that already.
#[cold]
fn follow(
    core: &mut Core,
    inlet: &mut Inlet,
    header: Header,
    (inbox, elsewhere): (&mut Inbox, &mut Option<Box<Inbox>>),
) -> Option<BypassWriter> {
    if header.carries {
        core.violation("ports came with a message that carries none");
        return None;
    }
    match header.kind {
        Kind::Bypass if core.is_open() && core.ways().is_expected() => {
            match inlet.take_bypass() {
                Ok(writer) => return Some(writer),
                // Mostly too many files are open here. Who does not use it does without.
                Err(_) => core.ways().give_up(),
            }
        }
        Kind::Switch if core.is_open() && inlet.switch() => {
            core.ways().is_followed();
            inbox.rest();
            mem::swap(inbox, elsewhere.get_or_insert_default());
        }
        _ => core.violation("a bypass came, or was to be used, that was not asked for"),
    }
    None
}

/// Whether callers deal with such messages too.
fn is_for_callers(kind: Kind) -> bool {
    matches!(kind, Kind::Reply | Kind::Item)
}

/// Deals with a message that stands alone. A call is handed back.
fn receive_whole(
    core: &mut Core,
    (header, whole): (Header, FrameBuf),
    now: &mut dyn FnMut() -> Instant,
) -> Option<Step> {
    match header.kind {
        Kind::Reply => {
            if let Some((place, part)) = core.receive_reply(header, &whole) {
                *place = whole.part(part);
            }
        }
        Kind::Item if core.is_special(header, &whole) => core.receive_item(header, whole),
        Kind::Item => core.receive_small_item(header, &whole),
        Kind::Call | Kind::Oneway if core.is_open() => {
            let incoming = core.receive_call(header, &whole, now)?;
            return Some(Step::Whole(Admitted::of(core, incoming), Box::new(whole)));
        }
        _ => core.receive(header, &whole, now),
    }
    None
}

/// Has the rest of a large frame that has begun read straight to where it is
/// wanted.
fn divert(core: &mut Core, inbox: &mut Inbox) -> Option<Header> {
    let (begun, size) = inbox.begun(core.max_frame_in()).ok()??;
    if size < limits::READ_CHUNK / 4 {
        return None;
    }
    let header = parse_header(begun)?;
    match header.kind {
        Kind::Part | Kind::LastPart => {
            let message = core.take_incomplete(header)?;
            inbox.divert(header.body, message);
        }
        Kind::Item | Kind::Reply => inbox.divert(0, Assembly::default()),
        _ => return None,
    }
    Some(header)
}
