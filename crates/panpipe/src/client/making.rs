//! Makes calls: over a connection, as values, inside of layers.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;
use tracing::Instrument;

use super::carrier::Carrier;
use super::layered::{oneway_through_layers, through_layers};
use super::wire_call::WireCall;
use crate::call_terms::CallTerms;
use crate::carried::{self, Claims};
use crate::clock;
use crate::codec::Decoder;
use crate::error::CallError;
use crate::in_place;
use crate::layer::Outcome;
use crate::limits;
use crate::link::{Received, oneway};
use crate::reconnect::Arguments;
use crate::service::MethodInfo;
use crate::session::{CallTarget, ROOT_PORT, ReplyBody, parse_reply};
use crate::shape::{Shape, Wired};
use crate::timer::within;
use crate::type_check::{self, Part};
use crate::watch::{self, Watch, labels_of};

/// How a method's arguments and results look as a client's values, and in which shapes
/// they travel.
pub(super) struct Form<A, ST, T, SE, E, Req, Resp> {
    pub(super) to_request: fn(A) -> Req,
    pub(super) from_response: fn(Resp) -> Option<Result<T, E>>,
    pub(super) shapes: PhantomData<fn() -> (ST, SE)>,
}

/// A call, by whatever carries it. Nearly all go over a connection.
enum Made<W, R> {
    OverWire(W),
    Otherwise(Pin<Box<dyn Future<Output = R> + Send>>),
}

impl<W: Future + Unpin> Future for Made<W, W::Output> {
    type Output = W::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        match self.get_mut() {
            Made::OverWire(call) => Pin::new(call).poll(cx),
            Made::Otherwise(call) => call.as_mut().poll(cx),
        }
    }
}

/// Makes a call.
#[inline]
pub(super) fn make<A, ST, T, SE, E, Req, Resp>(
    carrier: Carrier<Req, Resp>,
    info: &'static MethodInfo,
    args: A,
    form: Form<A, ST, T, SE, E, Req, Resp>,
    deadline: Option<Instant>,
    watch: Option<Box<Watch>>,
) -> impl Future<Output = Result<T, CallError<E>>> + Send + 'static + use<A, ST, T, SE, E, Req, Resp>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    ST: Shape<T> + 'static,
    SE: Shape<E> + 'static,
    T: Send + 'static,
    E: Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    let carrier = match carrier {
        Carrier::Link(link) => {
            return Made::OverWire(WireCall::<A, ST, T, SE, E>::of_root(link, info, args, deadline, watch));
        }
        Carrier::Stub(stub) => {
            return Made::OverWire(WireCall::of_stub(stub, info, args, deadline, watch));
        }
        carrier => carrier,
    };
    Made::Otherwise(Box::pin(async move {
        if let Err(error) = carrier.check_has(info) {
            return told(watch, Outcome::Value, Err(error.widen()));
        }
        let terms = CallTerms { deadline, labels: labels_of(&watch).cloned() };
        let result = match carrier {
            Carrier::Reconnecting(engine) => {
                let args = Arguments::new(move |codec, out| {
                    type_check::encode(info, Part::Arguments, codec, &args, out)
                });
                match in_span(&watch, engine.call(info, terms, args)).await {
                    Ok(mut received) => read_reply::<ST, T, SE, E>(info, &mut received),
                    Err(error) => Err(error.widen()),
                }
            }
            Carrier::Typed(typed) => {
                let response = typed.call(info, (form.to_request)(args), terms);
                of_response(info, in_span(&watch, response).await, form.from_response)
            }
            Carrier::Layered(layered) => {
                in_span(&watch, through_layers(&layered, info, args, form, terms)).await
            }
            Carrier::Records(_) => Err(nothing_comes_back().widen()),
            Carrier::Link(_) | Carrier::Stub(_) => {
                unreachable!("calls over a connection are made before this")
            }
        };
        told(watch, Outcome::Value, result)
    }))
}

/// Reads the reply to a call.
#[inline]
pub(super) fn read_reply<ST: Shape<T>, T, SE: Shape<E>, E>(
    info: &'static MethodInfo,
    received: &mut Received,
) -> Result<T, CallError<E>> {
    let (decoder, claims) = (received.decoder, received.take_claims());
    if received.body().len() < limits::SHARED_BLOCK {
        return read_body::<ST, T, SE, E>(info, received.body(), decoder, claims);
    }
    let read = |body: &[u8]| read_body::<ST, T, SE, E>(info, body, decoder, claims);
    in_place::decode_in(received.take_body(), read)
}

#[inline]
fn read_body<ST: Shape<T>, T, SE: Shape<E>, E>(
    info: &'static MethodInfo,
    body: &[u8],
    decoder: Decoder,
    claims: Option<Box<Claims>>,
) -> Result<T, CallError<E>> {
    let malformed = |why| CallError::Malformed(format!("the reply of {}: {why}", info.name));
    match parse_reply(body) {
        ReplyBody::Value(bytes) => {
            carried::decode::<Wired<ST, T>>(decoder, bytes, claims).map(Wired::into_inner).map_err(malformed)
        }
        ReplyBody::AppError(bytes) => {
            let error = carried::decode::<Wired<SE, E>>(decoder, bytes, claims).map_err(malformed)?;
            Err(CallError::App(error.into_inner()))
        }
        ReplyBody::Failed(error) => Err(error.widen()),
    }
}

/// Reads the response to a call that was made as a value.
fn of_response<Resp, T, E>(
    info: &'static MethodInfo,
    response: Result<Resp, CallError>,
    from_response: fn(Resp) -> Option<Result<T, E>>,
) -> Result<T, CallError<E>> {
    match from_response(response.map_err(CallError::widen)?) {
        Some(result) => result.map_err(CallError::App),
        None => Err(CallError::Malformed(format!("the reply to {} is another method's", info.name))),
    }
}

/// Tells who watches the call what it has come to.
#[inline]
pub(super) fn told<T, E>(
    watch: Option<Box<Watch>>,
    outcome: Outcome,
    result: Result<T, CallError<E>>,
) -> Result<T, CallError<E>> {
    if let Some(watch) = watch {
        watch.ended(match &result {
            Ok(_) => watch::word(&Ok(outcome)),
            Err(error) => watch::word_of(error),
        });
    }
    result
}

/// Has a call's span be the current one where code of the user's is run.
fn in_span<R: 'static>(
    watch: &Option<Box<Watch>>,
    call: Pin<Box<dyn Future<Output = R> + Send>>,
) -> Pin<Box<dyn Future<Output = R> + Send>> {
    match watch {
        Some(watch) => Box::pin(call.instrument(watch.span().clone())),
        None => call,
    }
}

pub(super) fn nothing_comes_back() -> CallError {
    let why = "nothing comes back over a one-way pipe that could tell; connect by the client's own `connect`";
    CallError::Unsupported(why.to_owned())
}

/// Makes a one-way call.
#[allow(clippy::manual_async_fn, reason = "an `async fn` holds its arguments twice")]
pub(super) fn make_oneway<A, Req, Resp>(
    carrier: Carrier<Req, Resp>,
    info: &'static MethodInfo,
    args: A,
    to_request: fn(A) -> Req,
    deadline: Option<Instant>,
    watch: Option<Box<Watch>>,
) -> impl Future<Output = Result<(), CallError>> + Send + 'static + use<A, Req, Resp>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    async move {
        let sent = match carrier.check_has(info) {
            Ok(()) => {
                let labels = labels_of(&watch).cloned();
                let elsewhere = deadline.and_then(|_| carrier.runtime());
                let call =
                    send_oneway(carrier, info, args, to_request, CallTerms { deadline, labels }, &watch);
                by(deadline, elsewhere, call).await
            }
            Err(error) => Err(error),
        };
        told(watch, Outcome::Done, sent)
    }
}

/// Sends a one-way call by whatever carries it.
async fn send_oneway<A, Req, Resp>(
    carrier: Carrier<Req, Resp>,
    info: &'static MethodInfo,
    args: A,
    to_request: fn(A) -> Req,
    terms: CallTerms,
    watch: &Option<Box<Watch>>,
) -> Result<(), CallError>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    Req: Send + 'static,
    Resp: Send + 'static,
{
    let (link, port, _stub) = match carrier {
        Carrier::Link(link) => (link, ROOT_PORT, None),
        Carrier::Stub(stub) => (Arc::clone(&stub.link), stub.port, Some(stub)),
        Carrier::Reconnecting(engine) => {
            let args = Arguments::new(move |codec, out| {
                type_check::encode(info, Part::Arguments, codec, &args, out)
            });
            return in_span(watch, engine.oneway(info, terms, args)).await;
        }
        Carrier::Records(_) if terms.labels.as_ref().is_some_and(|labels| labels.metadata.is_some()) => {
            let why = "one-way pipes carry no metadata; connect by the client's own `connect`, or pass the value as an argument";
            return Err(CallError::Unsupported(why.to_owned()));
        }
        Carrier::Records(writer) => return writer.write(writer.record(info, &args)?).await,
        Carrier::Typed(typed) => {
            // The time is for the call to be on its way, not for its handler.
            let terms = CallTerms { deadline: None, ..terms };
            return in_span(watch, typed.oneway(info, to_request(args), terms)).await;
        }
        Carrier::Layered(layered) => {
            let call = oneway_through_layers(&layered, info, args, to_request, terms);
            return in_span(watch, call).await;
        }
    };
    let target = CallTarget { labels: terms.labels.as_deref(), ..CallTarget::new(port, info.id) };
    oneway(&link, target, move |codec, out| type_check::encode(info, Part::Arguments, codec, &args, out))
        .await
}

/// Gives a one-way call up when its time is over, whatever it waits for. `elsewhere` is the
/// runtime to use outside of any.
async fn by(
    deadline: Option<Instant>,
    elsewhere: Option<Handle>,
    call: impl Future<Output = Result<(), CallError>>,
) -> Result<(), CallError> {
    match deadline {
        None => call.await,
        Some(at) if at <= clock::now() => Err(CallError::DeadlineExceeded),
        Some(at) => within(at, elsewhere.as_ref(), call).await.unwrap_or(Err(CallError::DeadlineExceeded)),
    }
}
