//! How a call ends, as far as layers learn it.

use std::future::Future;
use std::pin::Pin;

use crate::error::CallError;

/// How a call has ended that was made: what a layer gets of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The method has returned a value.
    Value,
    /// The method has returned an error of its own.
    Error,
    /// There is no answer: a one-way call has been handled, or, to layers of a
    /// client, has been sent.
    Done,
}

/// What a call comes to: an outcome, or why it failed. Boxed: most have not.
pub(crate) type Ended = Result<Outcome, Box<CallError>>;

/// What makes a call, or answers one.
pub(crate) type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;
