//! The calls that this side makes.

use std::task::{Poll, Waker};
use std::time::Duration;

use panpipe_transport::varint;

use super::{Core, Deadline, Encode, FrameInProgress, Phase, Role, remember};
use crate::error::CallError;
use crate::session::calls::{CallState, Reply};
use crate::session::deadlines::Due;
use crate::session::message::{Kind, ROOT_PORT, put_header};

impl Core {
    /// Starts a call, or waits for room. `key` names the call from its first
    /// wait or its start on; it is `None` when the result is an error.
    pub(crate) fn poll_call(
        &mut self,
        key: &mut Option<usize>,
        method: u64,
        deadline: Option<Deadline>,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        let granted = match *key {
            None => {
                self.open_for_calls()?;
                false
            }
            Some(known) => {
                let call = self.calls.get_mut(known);
                match call.state {
                    CallState::Waiting => {
                        remember(&mut call.waker, waker);
                        return Poll::Pending;
                    }
                    CallState::Granted => true,
                    // Its deadline passed, or the connection ended, as it waited.
                    _ => {
                        *key = None;
                        return Poll::Ready(self.take_result(known).map(drop));
                    }
                }
            }
        };
        let room = granted || self.calls.has_room(self.room);
        let started = if room && self.has_queue_room() {
            self.say_hello();
            let left = deadline.map(|deadline| deadline.left);
            let encoded = self.put_call(Kind::Call, u64::from(self.calls.next_id()), method, left, encode);
            match encoded {
                Ok(started) => started,
                Err(error) => {
                    if let Some(known) = key.take() {
                        self.forget(known);
                    }
                    return Poll::Ready(Err(error));
                }
            }
        } else {
            None
        };
        let known = *key.get_or_insert_with(|| {
            let known = self.calls.add(None);
            if let Some(deadline) = deadline {
                let ticket = self.deadlines.insert(deadline.at, Due::Call(known));
                self.calls.get_mut(known).deadline = Some(ticket);
            }
            known
        });
        match started {
            Some(bytes) => {
                self.calls.sent(known, bytes, self.outbox.queued_total(), granted);
                Poll::Ready(Ok(()))
            }
            None => {
                self.calls.wait(known, granted);
                remember(&mut self.calls.get_mut(known).waker, waker);
                Poll::Pending
            }
        }
    }

    /// Waits for the reply to a call that was started.
    pub(crate) fn poll_reply(
        &mut self,
        key: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<Result<Reply, CallError>> {
        let known = key.expect("a started call keeps its key until its result is taken");
        let call = self.calls.get_mut(known);
        if !matches!(call.state, CallState::Done(_)) {
            remember(&mut call.waker, waker);
            return Poll::Pending;
        }
        *key = None;
        Poll::Ready(self.take_result(known))
    }

    /// Sends a one-way call. `Ready(Ok)` when it is queued; when there is no
    /// room, `waker` is woken once there is.
    pub(crate) fn poll_oneway(
        &mut self,
        method: u64,
        waker: &Waker,
        encode: &mut Encode<'_>,
    ) -> Poll<Result<(), CallError>> {
        self.open_for_calls()?;
        if self.has_queue_room() {
            self.say_hello();
            if self.put_call(Kind::Oneway, 0, method, None, encode)?.is_some() {
                return Poll::Ready(Ok(()));
            }
        }
        self.reply_waiters.push(waker.clone());
        Poll::Pending
    }

    /// The caller has gone: gives up its place, or tells the peer to stop.
    pub(crate) fn drop_call(&mut self, key: usize) {
        if let Some(id) = self.forget(key) {
            self.put_frame(Kind::Cancel, u64::from(id), |_| ());
        }
        self.grant();
    }

    pub(super) fn open_for_calls(&self) -> Result<(), CallError> {
        match &self.phase {
            Phase::Ending(reason) | Phase::Ended(reason) => Err(reason.unsent()),
            _ if self.peer_draining || self.closing => Err(CallError::Disconnected { sent: false }),
            _ => Ok(()),
        }
    }

    /// Encodes a call's frame. `Ok(None)`: it has to wait for the peer's hello.
    pub(super) fn put_call(
        &mut self,
        kind: Kind,
        id: u64,
        method: u64,
        left: Option<Duration>,
        encode: &mut Encode<'_>,
    ) -> Result<Option<usize>, CallError> {
        let codec = self.codec;
        let open = self.phase == Phase::Open;
        if self.role == Role::Acceptor && !open {
            return Ok(None);
        }
        let mut frame = FrameInProgress::begin(&mut self.outbox);
        let out = frame.out();
        put_header(out, kind, ROOT_PORT, id);
        out.extend_from_slice(&method.to_le_bytes());
        if kind == Kind::Call {
            varint::put(out, left.map_or(0, |left| micros(left).saturating_add(1)));
        }
        encode(codec, out).map_err(CallError::Malformed)?;
        match frame.finish(self.max_message) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) if !open => Ok(None),
            Err((size, limit)) => Err(CallError::TooLarge { size, limit }),
        }
    }

    /// Removes a call. Returns its id if the peer is still at it.
    pub(super) fn forget(&mut self, key: usize) -> Option<u32> {
        let (call, id) = self.calls.remove(key);
        if let Some(ticket) = call.deadline {
            self.deadlines.remove(ticket);
        }
        id
    }

    pub(super) fn take_result(&mut self, key: usize) -> Result<Reply, CallError> {
        let (call, _) = self.calls.remove(key);
        if let Some(ticket) = call.deadline {
            self.deadlines.remove(ticket);
        }
        match call.state {
            CallState::Done(result) => result,
            _ => unreachable!("a result is taken of a call that is done"),
        }
    }

    pub(super) fn grant(&mut self) {
        if self.has_queue_room() {
            self.calls.grant(self.room, &mut self.wakes);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
