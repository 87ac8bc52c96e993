//! What a layer passes a call on to.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::failed::call_error;
use super::{Call, Outcome, Work};
use crate::error::CallError;

/// What stands inside of a layer: the next layer, or, by default, what makes the call.
#[derive(Default)]
pub struct Next {
    /// None: the call itself knows what makes it.
    layer: Option<Box<dyn AnyLayered>>,
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.layer.is_some() { "Next(a layer)" } else { "Next(the call)" })
    }
}

impl Clone for Next {
    fn clone(&self) -> Self {
        Next { layer: self.layer.as_ref().map(|layer| layer.boxed_clone()) }
    }
}

impl Next {
    /// The service of a layer.
    pub(super) fn layer<S>(service: S) -> Self
    where
        S: Service<Call, Response = Outcome> + Clone + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        Next { layer: Some(Box::new(Layered(service))) }
    }
}

impl Service<Call> for Next {
    type Response = Outcome;
    type Error = CallError;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match &mut self.layer {
            Some(layer) => layer.poll_ready(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, call: Call) -> Answering {
        Answering(match &mut self.layer {
            Some(layer) => layer.call(call),
            None => call.into_work(),
        })
    }
}

/// The future of a call that was handed to [`Next`].
///
/// Dropping it stops the handler, or cancels the call.
#[must_use = "a call is made when this is awaited"]
pub struct Answering(Work);

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

impl Future for Answering {
    type Output = Result<Outcome, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_err(|error| *error)
    }
}

/// A layer's service of any type.
trait AnyLayered: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>>;
    fn call(&mut self, call: Call) -> Work;
    fn boxed_clone(&self) -> Box<dyn AnyLayered>;
}

struct Layered<S>(S);

impl<S> AnyLayered for Layered<S>
where
    S: Service<Call, Response = Outcome> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.0.poll_ready(cx).map_err(|error| call_error(error.into()))
    }

    fn call(&mut self, call: Call) -> Work {
        let answer = self.0.call(call);
        Box::pin(async move { answer.await.map_err(|error| Box::new(call_error(error.into()))) })
    }

    fn boxed_clone(&self) -> Box<dyn AnyLayered> {
        Box::new(Layered(self.0.clone()))
    }
}
