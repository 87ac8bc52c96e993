//! What the caller learns of a layer that has failed.

use std::convert::Infallible;
use std::error::Error;

use crate::error::{CallError, Refusal, RefusalReason};

/// The error of a layer, of any type, as the caller's.
pub(super) fn call_error(error: Box<dyn Error + Send + Sync>) -> CallError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(this) = cause {
        if let Some(known) = this.downcast_ref::<CallError>() {
            return known.clone();
        }
        // A layer of the user's may name the type for what it is to it.
        if let Some(known) = this.downcast_ref::<CallError<Infallible>>() {
            return match known.clone().into_app() {
                Ok(never) => match never {},
                Err(failed) => failed,
            };
        }
        if let Some(refusal) = this.downcast_ref::<Refusal>() {
            return CallError::Refused(refusal.clone());
        }
        cause = this.source();
    }
    CallError::Refused(Refusal { reason: RefusalReason::Layer, message: error.to_string() })
}

/// What is said of a layer that gives an outcome and has not made the call.
pub(crate) fn not_made() -> CallError {
    let message = "a layer gave an outcome of a call that it had not passed on".to_owned();
    CallError::Refused(Refusal { reason: RefusalReason::Layer, message })
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Wrapped(CallError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("something around an error")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_of_a_call_is_itself_and_any_other_a_refusal_in_its_words() {
        assert_eq!(call_error(Box::new(CallError::<Infallible>::Overloaded)), CallError::Overloaded);
        assert_eq!(call_error(Box::new(Wrapped(CallError::Panicked))), CallError::Panicked);
        let refusal = Refusal { reason: RefusalReason::NotAllowed, message: "not you".to_owned() };
        assert_eq!(call_error(Box::new(refusal.clone())), CallError::Refused(refusal));
        let CallError::Refused(refusal) = call_error("too late".into()) else { panic!("it is none") };
        assert_eq!((refusal.reason, refusal.message.as_str()), (RefusalReason::Layer, "too late"));
    }
}
