//! The future of a one-way call, as a type of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::CallError;

pin_project! {
    /// A one-way call: what each `#[oneway]` method of a generated client returns.
    ///
    /// It is a future, ready when the call is on its way.
    #[derive(Debug)]
    #[must_use = "a call is made when it is awaited"]
    pub struct OnewayCall<F> {
        #[pin]
        call: F,
    }
}

impl<F> OnewayCall<F> {
    /// For generated code.
    #[doc(hidden)]
    pub fn new(call: F) -> Self {
        OnewayCall { call }
    }
}

impl<F: Future<Output = Result<(), CallError>>> Future for OnewayCall<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().call.poll(cx)
    }
}

/// What the closure of [`Hub::broadcast`](crate::Hub::broadcast) returns: an [`OnewayCall`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a one-way call, and a broadcast makes one-way calls only",
    label = "not the call of a `#[oneway]` method",
    note = "return the call itself, as in `|client: LogClient| client.line(text.clone())`"
)]
pub trait BroadcastCall: Future<Output = Result<(), CallError>> + Send + 'static + sealed::Sealed {}

impl<F> BroadcastCall for OnewayCall<F> where F: Future<Output = Result<(), CallError>> + Send + 'static {}

mod sealed {
    /// No other type is a one-way call.
    pub trait Sealed {}

    impl<F> Sealed for super::OnewayCall<F> {}
}
