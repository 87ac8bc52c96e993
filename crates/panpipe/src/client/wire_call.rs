//! A call over a connection, as a future.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};

use super::making::{read_reply, told};
use crate::error::CallError;
use crate::layer::Outcome;
use crate::link::{Link, PendingCall};
use crate::service::MethodInfo;
use crate::session::{CallTarget, ROOT_PORT};
use crate::shape::Shape;
use crate::stub::Stub;
use crate::type_check::{self, Part};
use crate::watch::{Watch, labels_of};

/// What a call gives, and in which shapes that travels.
type Gives<ST, T, SE, E> = PhantomData<fn() -> (ST, T, SE, E)>;

/// A call over a connection. It is not an `async` block, for it is the way of nearly all
/// calls: what such a block moves from state to state stays in its place here.
pub(super) struct WireCall<A, ST, T, SE, E> {
    /// `None` once it is over.
    call: Option<PendingCall>,
    /// Held until the call is over: it is what closes the port.
    stub: Option<Arc<Stub>>,
    info: &'static MethodInfo,
    /// Until it has been sent.
    args: Option<A>,
    watch: Option<Box<Watch>>,
    gives: Gives<ST, T, SE, E>,
}

// Nothing of it is ever pinned.
impl<A, ST, T, SE, E> Unpin for WireCall<A, ST, T, SE, E> {}

impl<A, ST, T, SE, E> WireCall<A, ST, T, SE, E> {
    /// Of the root port of a connection.
    #[inline]
    pub(super) fn of_root(
        link: Arc<Link>,
        info: &'static MethodInfo,
        args: A,
        deadline: Option<Instant>,
        watch: Option<Box<Watch>>,
    ) -> Self {
        let (call, args) = (Some(PendingCall::new(link, deadline)), Some(args));
        WireCall { call, stub: None, info, args, watch, gives: PhantomData }
    }

    /// Of another port.
    pub(super) fn of_stub(
        stub: Arc<Stub>,
        info: &'static MethodInfo,
        args: A,
        deadline: Option<Instant>,
        watch: Option<Box<Watch>>,
    ) -> Self {
        let call = WireCall::of_root(Arc::clone(&stub.link), info, args, deadline, watch);
        WireCall { stub: Some(stub), ..call }
    }
}

impl<A, ST, T, SE, E> Future for WireCall<A, ST, T, SE, E>
where
    A: Serialize + DeserializeOwned + 'static,
    ST: Shape<T>,
    SE: Shape<E>,
{
    type Output = Result<T, CallError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let call = this.call.as_mut().expect("a call is not polled when it is over");
        let started = match &this.args {
            None => Ok(()),
            Some(args) => {
                let port = this.stub.as_ref().map_or(ROOT_PORT, |stub| stub.port);
                let labels = labels_of(&this.watch).map(|labels| &**labels);
                let info = this.info;
                let target = CallTarget { labels, ..CallTarget::new(port, info.id) };
                let encode =
                    |codec, out: &mut Vec<u8>| type_check::encode(info, Part::Arguments, codec, args, out);
                match this.info.since {
                    Some(since) if is_older(call.link(), this.stub.as_deref(), since) => {
                        Err(Box::new(CallError::UnknownMethod))
                    }
                    _ => ready!(call.poll_start(target, cx, encode)),
                }
            }
        };
        this.args = None;
        let result = match started {
            Ok(()) => {
                ready!(call.poll_reply_as(cx, |received| read_reply::<ST, T, SE, E>(this.info, received)))
            }
            Err(error) => Err((*error).widen()),
        };
        // It holds on to nothing more, however long it is kept.
        (this.call, this.stub) = (None, None);
        Poll::Ready(told(this.watch.take(), Outcome::Value, result))
    }
}

/// Whether the other side is known to speak a version before this one. Where that is not
/// known yet the other side decides.
#[cold]
fn is_older(link: &Link, stub: Option<&Stub>, since: u32) -> bool {
    let agreed = stub.map_or_else(|| link.version(), |stub| stub.version);
    agreed.is_some_and(|version| version < since)
}
