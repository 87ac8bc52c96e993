//! Two cores whose bytes are carried by hand: no pipe, no clock, no task.

mod calls;
mod fairness;
mod goodbye;
mod metadata;
mod ports;
mod versions;

use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use panpipe_transport::buffer::{FrameBuf, Inbox, Prefix};

use super::*;
use crate::carried::Carried;
use crate::session::calls::Reply;
use crate::session::encoded::Encoded;
use crate::session::hello::ServiceInfo;
use crate::session::message::{Header, MAGIC, parse_header};
use crate::session::reply::put_status;

/// A waker that wakes nothing.
fn idle() -> Option<Waker> {
    Some(Waker::noop().clone())
}

/// A message with the body that `encode` appends.
fn message(encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>) -> EncodedMessage {
    Encoded::new(Codec::default(), encode).unwrap().into_message()
}

fn unboxed<T>(polled: Poll<Result<T, Box<CallError>>>) -> Poll<Result<T, CallError>> {
    polled.map_err(|error| *error)
}

/// One side: its core, what has come in, the calls that it was asked to answer.
struct Side {
    core: Core,
    inbox: Inbox,
    magic: bool,
    asked: Vec<Incoming>,
    now: Instant,
}

impl Side {
    fn new(role: Role, limits: Limits) -> Side {
        let store = ServiceInfo::new("Store", 1);
        let config = match role {
            Role::Dialer => Config::dialer(store),
            Role::Acceptor => Config { offers: Arc::new(vec![store]), ..Config::acceptor() },
        };
        Side::with(Config { limits: Arc::new(limits), ..config })
    }

    fn with(config: Config) -> Side {
        let mut core = Core::new(config);
        let now = Instant::now();
        core.begin(now);
        Side { core, inbox: Inbox::default(), magic: false, asked: Vec::new(), now }
    }

    fn call(&mut self, body: &[u8]) -> (Option<usize>, Poll<Result<(), CallError>>) {
        self.call_by(None, body)
    }

    fn call_by(
        &mut self,
        left: Option<Duration>,
        body: &[u8],
    ) -> (Option<usize>, Poll<Result<(), CallError>>) {
        let deadline = left.map(|left| Deadline { at: Some(self.now + left), left });
        let mut key = None;
        let polled = self.core.poll_call(
            &mut key,
            CallTarget::new(0, 7),
            deadline,
            || 0,
            &mut idle(),
            Some(&mut message(|_, out| {
                out.extend_from_slice(body);
                Ok(None)
            })),
        );
        (key, unboxed(polled))
    }

    /// A call that goes out at once.
    fn started(&mut self, body: &[u8]) -> Option<usize> {
        let (key, polled) = self.call(body);
        assert_eq!(polled, Poll::Ready(Ok(())));
        key
    }

    fn again(&mut self, key: &mut Option<usize>, body: &[u8]) -> Poll<Result<(), CallError>> {
        unboxed(self.core.poll_call(
            key,
            CallTarget::new(0, 7),
            None,
            || 0,
            &mut idle(),
            Some(&mut message(|_, out| {
                out.extend_from_slice(body);
                Ok(None)
            })),
        ))
    }

    fn reply(&mut self, key: &mut Option<usize>) -> Poll<Result<FrameBuf, CallError>> {
        let mut reply = Reply::default();
        unboxed(self.core.poll_reply(key, &mut idle(), &mut reply)).map_ok(|()| reply.body)
    }

    /// What a call that is over has failed with.
    fn failure(&mut self, key: &mut Option<usize>) -> CallError {
        match self.reply(key) {
            Poll::Ready(Err(error)) => error,
            other => panic!("it has not failed: {other:?}"),
        }
    }

    /// The call that has this id now.
    fn call_of(&self, id: u32) -> ReplyTo {
        self.core.handlers.call_of(id)
    }

    /// Whether there was room for the answer.
    fn answer(&mut self, id: u32, body: &[u8]) -> bool {
        self.core.try_answer(
            self.call_of(id),
            &mut message(|_, out| {
                put_status(out, true);
                out.extend_from_slice(body);
                Ok(None)
            }),
        )
    }

    /// What is to go out, taken as if it had gone.
    fn sends(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            self.core.feed();
            let run = self.core.outbox().pending().to_vec();
            if run.is_empty() {
                break;
            }
            self.core.outbox().advance(run.len());
            bytes.extend(run);
        }
        self.core.after_write();
        bytes
    }

    fn hears(&mut self, mut bytes: &[u8]) {
        let mut cx = std::task::Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            assert!(self.inbox.poll_fill(&mut cx, std::pin::Pin::new(&mut bytes)).is_ready());
        }
        if !self.magic {
            assert_eq!(self.inbox.strip_prefix(&MAGIC), Prefix::Stripped);
            self.magic = true;
        }
        while self.inbox.peek_frame(self.core.max_frame_in()).unwrap().is_some() && !self.core.is_over() {
            let frame = self.inbox.take_frame();
            let header = parse_header(&frame).unwrap();
            if !matches!(header.kind, Kind::Part | Kind::LastPart) {
                self.receive(header, frame);
            } else if let Some(mut message) = self.core.take_incomplete(header) {
                message.append(&frame[header.body..]);
                if let Some((header, whole)) = self.core.put_incomplete(header, message) {
                    self.receive(header, whole);
                }
            }
        }
    }

    fn receive(&mut self, header: Header, frame: FrameBuf) {
        let now = self.now;
        match header.kind {
            Kind::Reply => {
                if let Some((place, part)) = self.core.receive_reply(header, &frame) {
                    *place = frame.part(part);
                }
            }
            Kind::Item if self.core.is_special(header, &frame) => self.core.receive_item(header, frame),
            Kind::Item => self.core.receive_small_item(header, &frame),
            Kind::Call | Kind::Oneway if self.core.is_open() => {
                self.asked.extend(self.core.receive_call(header, &frame, &mut || now));
            }
            _ => self.core.receive(header, &frame, &mut || now),
        }
    }

    fn kinds(bytes: &[u8]) -> Vec<Kind> {
        let mut rest = bytes.strip_prefix(&MAGIC).unwrap_or(bytes);
        let mut kinds = Vec::new();
        while let Some((body, taken)) = frame::split(rest, usize::MAX).unwrap() {
            kinds.push(parse_header(body).unwrap().kind);
            rest = &rest[taken..];
        }
        kinds
    }
}

fn pair(dialer: Limits, acceptor: Limits) -> (Side, Side) {
    (Side::new(Role::Dialer, dialer), Side::new(Role::Acceptor, acceptor))
}

/// A pair that has said hello, with a first call that was answered.
fn greeted(dialer: Limits, acceptor: Limits) -> (Side, Side) {
    let (mut ours, mut theirs) = pair(dialer, acceptor);
    let mut key = ours.started(b"");
    theirs.hears(&ours.sends());
    assert!(theirs.answer(0, b""));
    ours.hears(&theirs.sends());
    assert!(matches!(ours.reply(&mut key), Poll::Ready(Ok(_))));
    theirs.asked.clear();
    (ours, theirs)
}
