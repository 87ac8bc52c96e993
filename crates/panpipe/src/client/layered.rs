//! Calls inside of a client's layers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::carrier::{Carrier, TypedCall};
use super::making::{Form, make, make_oneway};
use crate::call::{CallContext, Caller};
use crate::call_info::CallInfo;
use crate::call_terms::CallTerms;
use crate::error::CallError;
use crate::layer::{Call, Ended, Outcome, Stack, Work, not_made};
use crate::service::MethodInfo;
use crate::shape::Shape;
use crate::timer::within;
use crate::watch::Watch;

/// A carrier, and the layers around it.
pub(super) struct Layered<Req, Resp> {
    pub(super) carrier: Carrier<Req, Resp>,
    pub(super) layers: Stack,
}

/// Makes a call inside of a client's layers, which learn its outcome; the result goes
/// past them.
pub(super) fn through_layers<A, ST, T, SE, E, Req, Resp>(
    layered: &Layered<Req, Resp>,
    info: &'static MethodInfo,
    args: A,
    form: Form<A, ST, T, SE, E, Req, Resp>,
    terms: CallTerms,
) -> Pin<Box<dyn Future<Output = Result<T, CallError<E>>> + Send>>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    ST: Shape<T> + 'static,
    SE: Shape<E> + 'static,
    T: Send + 'static,
    E: Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    let (give, mut given) = oneshot::channel();
    let deadline = terms.deadline;
    let call = layered.call(info, terms, move |carrier, terms| {
        let made = make(carrier, info, args, form, terms.deadline, Watch::carrying(terms.labels));
        Box::pin(async move {
            let (result, outcome) = match made.await {
                Ok(value) => (Ok(value), Outcome::Value),
                Err(error) => (Err(error.into_app().map_err(Box::new)?), Outcome::Error),
            };
            // Nobody waits for it where a layer has given up meanwhile.
            let _ = give.send(result);
            Ok(outcome)
        })
    });
    Box::pin(async move {
        by(deadline, call).await.map_err(|error| error.widen())?;
        match given.try_recv() {
            Ok(result) => result.map_err(CallError::App),
            Err(_) => Err(not_made().widen()),
        }
    })
}

pub(super) fn oneway_through_layers<A, Req, Resp>(
    layered: &Layered<Req, Resp>,
    info: &'static MethodInfo,
    args: A,
    to_request: fn(A) -> Req,
    terms: CallTerms,
) -> TypedCall<()>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    let sent = Arc::new(AtomicBool::new(false));
    let is_sent = Arc::clone(&sent);
    let call = layered.call(info, terms, move |carrier, terms| {
        Box::pin(async move {
            let watch = Watch::carrying(terms.labels);
            make_oneway(carrier, info, args, to_request, terms.deadline, watch).await.map_err(Box::new)?;
            is_sent.store(true, Ordering::Release);
            Ok(Outcome::Done)
        })
    });
    Box::pin(async move {
        call.await.map_err(|error| *error)?;
        if sent.load(Ordering::Acquire) { Ok(()) } else { Err(not_made()) }
    })
}

impl<Req: Send + 'static, Resp: Send + 'static> Layered<Req, Resp> {
    /// Passes through the layers what `make` makes of the carrier inside of them, when
    /// it is its turn.
    fn call(
        &self,
        info: &'static MethodInfo,
        terms: CallTerms,
        make: impl FnOnce(Carrier<Req, Resp>, CallTerms) -> Work + Send + 'static,
    ) -> Work {
        let context = CallContext {
            who: Caller::of(self.carrier.peer()),
            method: info.name,
            version: None,
            nesting: 0,
            deadline: terms.deadline,
            labels: terms.labels.clone(),
        };
        let carrier = self.carrier.clone();
        let work = async move { make(carrier, terms).await };
        self.layers.run(Call::to_peer(CallInfo::new(context), Box::pin(work)))
    }
}

/// Gives a call up when its time is over, wherever the layers have it.
async fn by(deadline: Option<Instant>, call: Work) -> Ended {
    match deadline {
        None => call.await,
        Some(at) => {
            within(at, None, call).await.unwrap_or_else(|| Err(Box::new(CallError::DeadlineExceeded)))
        }
    }
}
