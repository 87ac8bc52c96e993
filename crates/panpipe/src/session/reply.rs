//! The body of a reply: a status byte, and what belongs to the status.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use panpipe_transport::varint;

use super::message::{Status, put_str, take_str};
use crate::error::{CallError, Refusal, RefusalReason};
use crate::limits;

/// How a call ends that gives no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    DeadlineExceeded,
    Cancelled,
    Panicked,
    TooLarge {
        size: u64,
        limit: u64,
    },
    MetadataTooLarge {
        size: u64,
        limit: u64,
    },
    Overloaded,
    UnknownMethod,
    Malformed(String),
    /// The side that was called is shutting down and did not run the call.
    NotRun,
    /// What was asked for is not to be had, in words.
    Refused(Refusal),
}

impl From<CallError> for Failure {
    /// What the caller of a call learns whose handler passed it on to another
    /// process, where it failed.
    fn from(error: CallError) -> Failure {
        match error {
            CallError::App(never) => match never {},
            CallError::Disconnected { sent: false } | CallError::NoHello { sent: false, .. } => {
                Failure::NotRun
            }
            CallError::Disconnected { sent: true }
            | CallError::NoHello { sent: true, .. }
            | CallError::Cancelled => Failure::Cancelled,
            CallError::DeadlineExceeded => Failure::DeadlineExceeded,
            CallError::Panicked => Failure::Panicked,
            CallError::TooLarge { size, limit } => Failure::TooLarge { size, limit },
            CallError::MetadataTooLarge { size, limit } => Failure::MetadataTooLarge { size, limit },
            CallError::Overloaded => Failure::Overloaded,
            CallError::UnknownMethod => Failure::UnknownMethod,
            CallError::Malformed(why) | CallError::Unsupported(why) => Failure::Malformed(why),
            CallError::Refused(refusal) => Failure::Refused(refusal),
        }
    }
}

/// The status byte of a reply that carries the method's own value or error.
#[inline]
pub(crate) fn put_status(out: &mut Vec<u8>, is_value: bool) {
    out.push(if is_value { Status::Value } else { Status::AppError } as u8);
}

/// Appends the body of a reply that says how the call failed.
pub(crate) fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    let status = match failure {
        Failure::DeadlineExceeded => Status::DeadlineExceeded,
        Failure::Cancelled => Status::Cancelled,
        Failure::Panicked => Status::Panicked,
        Failure::TooLarge { .. } => Status::TooLarge,
        Failure::MetadataTooLarge { .. } => Status::MetadataTooLarge,
        Failure::Overloaded => Status::Overloaded,
        Failure::UnknownMethod => Status::UnknownMethod,
        Failure::Malformed(_) => Status::Malformed,
        Failure::NotRun => Status::NotRun,
        Failure::Refused(_) => Status::Refused,
    };
    out.push(status as u8);
    match failure {
        Failure::TooLarge { size, limit } | Failure::MetadataTooLarge { size, limit } => {
            varint::put(out, *size);
            varint::put(out, *limit);
        }
        Failure::Malformed(why) => put_str(out, clipped(why)),
        Failure::Refused(refusal) => put_refusal(out, refusal),
        _ => {}
    }
}

/// Appends a refusal: its reason as a byte, and its words.
pub(crate) fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    out.push(refusal.reason.code());
    put_str(out, clipped(&refusal.message));
}

/// Reads a refusal; what cannot be read of it is made up for.
pub(crate) fn parse_refusal(body: &[u8]) -> Refusal {
    let (&code, mut words) = body.split_first().unwrap_or((&0, &[]));
    let message = take_str(&mut words, limits::WORDS).unwrap_or("the other side gave no reason");
    let reason = RefusalReason::from_code(code).unwrap_or(RefusalReason::NotAllowed);
    Refusal { reason, message: message.to_owned() }
}

/// As much of `text` as the other side accepts in one message.
pub(crate) fn clipped(text: &str) -> &str {
    let mut end = text.len().min(limits::WORDS);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    &text[..end]
}

/// A reply's body, told apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyBody<'a> {
    Value(&'a [u8]),
    AppError(&'a [u8]),
    Failed(CallError),
}

/// Reads a reply's body.
#[inline]
pub(crate) fn parse(body: &[u8]) -> ReplyBody<'_> {
    match body.split_first() {
        // As nearly all begin.
        Some((&status, value)) if status == Status::Value as u8 => ReplyBody::Value(value),
        _ => parse_failure(body),
    }
}

fn take_sizes(rest: &mut &[u8]) -> Option<(u64, u64)> {
    Some((varint::take(rest)?, varint::take(rest)?))
}

fn parse_failure(body: &[u8]) -> ReplyBody<'_> {
    let failed = ReplyBody::Failed;
    let Some((status, mut rest)) = body.split_first() else {
        return failed(CallError::Malformed("the reply is empty".to_owned()));
    };
    match Status::from_byte(*status) {
        Some(Status::Value) => ReplyBody::Value(rest),
        Some(Status::AppError) => ReplyBody::AppError(rest),
        Some(Status::DeadlineExceeded) => failed(CallError::DeadlineExceeded),
        Some(Status::Cancelled) => failed(CallError::Cancelled),
        Some(Status::Panicked) => failed(CallError::Panicked),
        Some(Status::Overloaded) => failed(CallError::Overloaded),
        Some(Status::UnknownMethod) => failed(CallError::UnknownMethod),
        Some(Status::NotRun) => failed(CallError::Disconnected { sent: false }),
        Some(Status::Refused) => failed(CallError::Refused(parse_refusal(rest))),
        Some(status @ (Status::TooLarge | Status::MetadataTooLarge)) => match take_sizes(&mut rest) {
            Some((size, limit)) if status == Status::TooLarge => failed(CallError::TooLarge { size, limit }),
            Some((size, limit)) => failed(CallError::MetadataTooLarge { size, limit }),
            None => failed(CallError::Malformed("the reply's sizes cannot be read".to_owned())),
        },
        Some(Status::Malformed) => {
            let why = take_str(&mut rest, limits::WORDS).unwrap_or("the other side gave no reason");
            failed(CallError::Malformed(why.to_owned()))
        }
        None => failed(CallError::Malformed(format!("the reply has the unknown status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_reads_back_as_the_callers_error() {
        let too_large = CallError::TooLarge { size: 5000, limit: 4096 };
        for (failure, error) in [
            (Failure::DeadlineExceeded, CallError::DeadlineExceeded),
            (Failure::Cancelled, CallError::Cancelled),
            (Failure::Panicked, CallError::Panicked),
            (Failure::TooLarge { size: 5000, limit: 4096 }, too_large),
            (
                Failure::MetadataTooLarge { size: 9000, limit: 8192 },
                CallError::MetadataTooLarge { size: 9000, limit: 8192 },
            ),
            (Failure::Overloaded, CallError::Overloaded),
            (Failure::UnknownMethod, CallError::UnknownMethod),
            (Failure::Malformed("no".to_owned()), CallError::Malformed("no".to_owned())),
            (Failure::NotRun, CallError::Disconnected { sent: false }),
            (
                Failure::Refused(Refusal { reason: RefusalReason::Service, message: "none".to_owned() }),
                CallError::Refused(Refusal { reason: RefusalReason::Service, message: "none".to_owned() }),
            ),
        ] {
            let mut body = Vec::new();
            put_failure(&mut body, &failure);
            assert_eq!(parse(&body), ReplyBody::Failed(error));
        }
    }

    #[test]
    fn a_reply_that_cannot_be_read_is_malformed_not_a_panic() {
        for body in [&[][..], &[77], &[Status::TooLarge as u8, 0x80]] {
            assert!(matches!(parse(body), ReplyBody::Failed(CallError::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn long_words_are_clipped_at_a_character() {
        let long = "ä".repeat(limits::WORDS);
        assert!(clipped(&long).len() <= limits::WORDS);
    }
}
