//! What a failed call tells its caller.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The error type of a method that has none: no value of it exists.
///
/// It is `Infallible` with serde's traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

impl Serialize for NoError {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for NoError {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("an error came from a method that has none"))
    }
}

impl From<NoError> for Infallible {
    fn from(never: NoError) -> Infallible {
        match never {}
    }
}

/// Why a call gave no value.
///
/// `E` is the method's own error type; a method that does not return a
/// `Result` has none, and its calls fail with `CallError` alone.
///
/// [`is_retryable`](Self::is_retryable) recognises every error that another try may mend:
///
/// ```
/// use panpipe::CallError;
///
/// /// Makes a call again, up to three times.
/// async fn retrying<T, E>(mut call: impl AsyncFnMut() -> Result<T, CallError<E>>) -> Result<T, CallError<E>> {
///     for _ in 0..3 {
///         match call().await {
///             Err(error) if error.is_retryable() => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
///             ended => return ended,
///         }
///     }
///     call().await
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # let mut left = 2;
/// # let call = async || { left -= 1; if left > 0 { Err(CallError::<()>::Overloaded) } else { Ok(7) } };
/// # assert_eq!(retrying(call).await, Ok(7));
/// # });
/// ```
///
/// It implements serde's traits, so that a service can pass on the error of another.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallError<E = NoError> {
    /// The method ran and returned this error of its own.
    #[error("{0}")]
    App(E),
    /// The connection ended before the reply came.
    ///
    /// `sent` is false when the call certainly did not run on the other side,
    /// so that calling again cannot run it twice. When it is true, the call may
    /// or may not have run.
    #[error("the connection ended before the reply came{}", if *.sent {
        "; the call may have run"
    } else {
        "; the call was not sent, so it is safe to call again on a new connection"
    })]
    Disconnected {
        /// Whether the whole call had been handed to the system.
        sent: bool,
    },
    /// The other side took the connection and did not answer the hello in time: it is
    /// stopped, busy, still starting, or no server of panpipe's.
    #[error(
        "{peer} took the connection and did not answer the hello within {within:?}{}; if it is slow to start, raise `Limits::handshake_timeout`",
        if *.sent { ", so the call may have run" } else { "; the call was not sent" }
    )]
    NoHello {
        /// The process at the other end, in words.
        peer: String,
        /// How long this side waited.
        within: Duration,
        /// Whether the whole call had been handed to the system, so that it may have run.
        sent: bool,
    },
    /// The call's deadline passed first. The other side was told to stop.
    #[error("the deadline passed before the reply came")]
    DeadlineExceeded,
    /// The handler was stopped before it had a reply, for example because the
    /// process that runs it is shutting down.
    #[error("the handler was stopped before it had replied")]
    Cancelled,
    /// The handler panicked. Its process and the connection live on.
    #[error("the handler panicked; the server's own log says where")]
    Panicked,
    /// The call's arguments, or its reply, encode to more bytes than the
    /// receiving side accepts in one message. Nothing of it was sent.
    #[error(
        "a message of {size} bytes is over the receiver's limit of {limit}; raise `Limits::max_message` there or send less at once"
    )]
    TooLarge {
        /// The size of the encoded message, in bytes.
        size: u64,
        /// The largest size that the receiving side accepts, in bytes.
        limit: u64,
    },
    /// The other side holds as many calls, or as many of this side's streams and
    /// stubs, as it accepts. The call did not run.
    #[error(
        "the other side is at its limit of running calls or of open streams and stubs; the call did not run, try again later"
    )]
    Overloaded,
    /// The other side has no method of this name and signature, or not in the version of
    /// the service that both sides speak.
    #[error(
        "the other side has no such method; the two processes were built from different versions of the trait"
    )]
    UnknownMethod,
    /// The arguments or the reply could not be encoded or decoded.
    #[error("arguments or reply could not be encoded or decoded: {0}")]
    Malformed(String),
    /// The other side turned the connection or the call down, and says why. The
    /// call did not run, but where a layer of either side gave it up, for the reason
    /// [`RefusalReason::Layer`]: it may have begun.
    #[error("the call was refused: {0}")]
    Refused(Refusal),
    /// What carries this client's calls cannot do it, in words. Nothing was sent.
    #[error("what carries this client's calls cannot do it: {0}")]
    Unsupported(String),
    /// The [metadata](crate::Metadata) of the call have more bytes than the receiving side
    /// accepts. The call did not run.
    #[error(
        "the call's metadata of {size} bytes are over the receiver's limit of {limit}; raise `Limits::max_metadata` there or send less"
    )]
    MetadataTooLarge {
        /// How many bytes they have, names included.
        size: u64,
        /// How many the receiving side accepts.
        limit: u64,
    },
}

impl CallError {
    /// The same failure, seen by the caller of a method whose error type is `E`.
    #[must_use]
    pub fn widen<E>(self) -> CallError<E> {
        match self.into_app() {
            Ok(never) => match never {},
            Err(failed) => failed,
        }
    }
}

impl<E> CallError<E> {
    /// Whether the call certainly did not run on the other side, so that to make it again
    /// cannot run it twice.
    ///
    /// False also where it may or may not have run: after a deadline, a lost connection, or a
    /// refusal by a layer.
    ///
    /// ```
    /// use panpipe::{CallError, Refusal, RefusalReason};
    ///
    /// let full = CallError::<()>::Refused(Refusal::new(RefusalReason::Overloaded, "100 clients are served"));
    /// assert!(full.did_not_run() && full.is_retryable());
    /// let denied = CallError::<()>::Refused(Refusal::new(RefusalReason::NotAllowed, "not you"));
    /// assert!(denied.did_not_run() && !denied.is_retryable());
    /// assert!(!CallError::<()>::DeadlineExceeded.did_not_run());
    /// ```
    #[must_use]
    pub fn did_not_run(&self) -> bool {
        match self {
            CallError::Disconnected { sent } | CallError::NoHello { sent, .. } => !sent,
            CallError::Overloaded
            | CallError::UnknownMethod
            | CallError::MetadataTooLarge { .. }
            | CallError::Unsupported(_) => true,
            CallError::Refused(refusal) => refusal.reason.is_before_the_call(),
            CallError::App(_)
            | CallError::DeadlineExceeded
            | CallError::Cancelled
            | CallError::Panicked
            | CallError::TooLarge { .. }
            | CallError::Malformed(_) => false,
        }
    }

    /// Whether the call did not run, and may run when it is made again after a pause or on a
    /// new connection: the server is full, over a limit or shutting down, or the connection
    /// ended before the call was sent.
    ///
    /// A layer that sheds load should fail with [`CallError::Overloaded`]: of its other errors
    /// nothing is known.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            CallError::Disconnected { sent } | CallError::NoHello { sent, .. } => !sent,
            CallError::Overloaded => true,
            CallError::Refused(refusal) => {
                matches!(refusal.reason, RefusalReason::Overloaded | RefusalReason::Draining)
            }
            _ => false,
        }
    }

    /// The method's own error, or the failure of the call.
    pub(crate) fn into_app<F>(self) -> Result<E, CallError<F>> {
        Err(match self {
            CallError::App(error) => return Ok(error),
            CallError::Disconnected { sent } => CallError::Disconnected { sent },
            CallError::NoHello { peer, within, sent } => CallError::NoHello { peer, within, sent },
            CallError::DeadlineExceeded => CallError::DeadlineExceeded,
            CallError::Cancelled => CallError::Cancelled,
            CallError::Panicked => CallError::Panicked,
            CallError::TooLarge { size, limit } => CallError::TooLarge { size, limit },
            CallError::MetadataTooLarge { size, limit } => CallError::MetadataTooLarge { size, limit },
            CallError::Overloaded => CallError::Overloaded,
            CallError::UnknownMethod => CallError::UnknownMethod,
            CallError::Malformed(why) => CallError::Malformed(why),
            CallError::Refused(refusal) => CallError::Refused(refusal),
            CallError::Unsupported(why) => CallError::Unsupported(why),
        })
    }
}

/// Why a stream of another process ended before its writer had ended it.
///
/// It is the last item of its stream. The items before it are whole.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection that the stream came over has ended.
    #[error("the connection ended before the stream did")]
    Disconnected,
    /// What made the items panicked.
    #[error("what made the stream's items panicked; the log of its process says where")]
    Panicked,
    /// An item could not be encoded or decoded.
    #[error("an item of the stream could not be encoded or decoded: {0}")]
    Malformed(String),
    /// An item encodes to more bytes than the reader accepts in one message.
    #[error(
        "an item of {size} bytes is over the reader's limit of {limit}; raise `Limits::max_message` there or send smaller ones"
    )]
    TooLarge {
        /// The size of the encoded item, in bytes.
        size: u64,
        /// The largest size that the reader accepts, in bytes.
        limit: u64,
    },
    /// The call that the stream's writing end was passed with failed or was given up before it
    /// had ended the stream.
    #[error("the call that the stream's sender was passed with has failed")]
    Cancelled,
}

/// Why a connection, or one call, was turned down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// What kind of refusal this is.
    pub reason: RefusalReason,
    /// The refusing side's own words.
    pub message: String,
}

impl Refusal {
    /// A refusal of one's own: the error of a [`layer`](crate::layer) that turns a call
    /// down.
    #[must_use]
    pub fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Refusal { reason, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The kinds of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The other side does not speak panpipe's protocol.
    NotPanpipe,
    /// It speaks another version of the protocol.
    ProtocolVersion,
    /// It was built without the codec that this connection asks for.
    Codec,
    /// It offers no service of that name.
    Service,
    /// It offers the service in other versions.
    ServiceVersion,
    /// It does not answer this user, or not this call of this user.
    NotAllowed,
    /// It serves as many clients as it accepts.
    Overloaded,
    /// It is shutting down.
    Draining,
    /// A layer gave the call up, one of the other side's or of this side's own
    /// client, and says why. The handler may have begun.
    Layer,
    /// The call has run, and its reply carries more streams, senders and clients than both
    /// sides allow: `Limits::max_ports`.
    TooManyPorts,
}

impl RefusalReason {
    /// Whether what is refused so has not begun.
    fn is_before_the_call(self) -> bool {
        match self {
            RefusalReason::NotPanpipe
            | RefusalReason::ProtocolVersion
            | RefusalReason::Codec
            | RefusalReason::Service
            | RefusalReason::ServiceVersion
            | RefusalReason::NotAllowed
            | RefusalReason::Overloaded
            | RefusalReason::Draining => true,
            RefusalReason::Layer | RefusalReason::TooManyPorts => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_overload_is_retryable_and_did_not_run() {
        let refused = |reason| CallError::<()>::Refused(Refusal::new(reason, "so it is"));
        for error in [
            CallError::Overloaded,
            CallError::Disconnected { sent: false },
            refused(RefusalReason::Overloaded),
            refused(RefusalReason::Draining),
        ] {
            assert!(error.is_retryable() && error.did_not_run(), "{error:?}");
        }
        for error in
            [refused(RefusalReason::NotAllowed), refused(RefusalReason::Service), CallError::UnknownMethod]
        {
            assert!(!error.is_retryable() && error.did_not_run(), "{error:?}");
        }
        for error in [
            CallError::App(()),
            CallError::Disconnected { sent: true },
            CallError::DeadlineExceeded,
            CallError::Cancelled,
            CallError::Panicked,
            CallError::Malformed(String::new()),
            refused(RefusalReason::Layer),
            refused(RefusalReason::TooManyPorts),
        ] {
            assert!(!error.is_retryable() && !error.did_not_run(), "{error:?}");
        }
    }

    #[test]
    fn a_lost_call_says_whether_calling_again_is_safe() {
        let lost = CallError::<NoError>::Disconnected { sent: false };
        assert!(lost.to_string().contains("safe to call again"));
        let lost = CallError::<NoError>::Disconnected { sent: true };
        assert!(lost.to_string().contains("may have run"));
    }

    #[cfg(feature = "bincode")]
    #[test]
    fn errors_of_calls_are_values_that_travel() {
        fn travels<E>(error: CallError<E>)
        where
            E: Serialize + serde::de::DeserializeOwned + PartialEq + fmt::Debug,
        {
            let mut bytes = Vec::new();
            crate::Codec::Bincode.encode(&error, &mut bytes).unwrap();
            assert_eq!(crate::Codec::Bincode.decode::<CallError<E>>(&bytes), Ok(error));
        }
        travels(CallError::App("own".to_owned()));
        travels::<NoError>(CallError::Disconnected { sent: true });
        travels::<NoError>(CallError::TooLarge { size: 5, limit: 4 });
        travels::<NoError>(CallError::Refused(Refusal::new(RefusalReason::Draining, "later")));
        // A method without an error of its own cannot have sent one.
        let mut bytes = Vec::new();
        crate::Codec::Bincode.encode(&CallError::App(()), &mut bytes).unwrap();
        assert!(crate::Codec::Bincode.decode::<CallError>(&bytes).is_err());
    }
}
