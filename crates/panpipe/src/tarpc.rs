//! The seams to stock tarpc: generated services are served by its servers,
//! generated clients call through its stubs.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use panpipe_transport::Peer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tarpc::client::RpcError;
use tarpc::client::stub::Stub;
use tarpc::trace::SamplingDecision;
use tarpc::{ServerError, context};
use tokio::sync::{mpsc, oneshot};

use crate::call::{CallContext, Caller};
use crate::call_terms::CallTerms;
use crate::carried;
use crate::client::{Client, ServiceClient, TypedCall, TypedCarrier};
use crate::clock;
use crate::error::CallError;
use crate::labels::Labels;
use crate::limits;
use crate::local::InContext;
use crate::service::{MethodInfo, Request as _, Serve, ServiceImpl};
use crate::trace::TraceContext;

/// A request of a generated service, as tarpc's channels carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<R> {
    message: R,
    /// Whether it came with streams, senders or clients, which are lost.
    lost_ports: bool,
}

/// What a generated service answers, as tarpc's channels carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<R> {
    message: R,
    lost_ports: bool,
}

macro_rules! without_ports {
    ($message:ident) => {
        impl<R> $message<R> {
            fn new(message: R) -> Self {
                $message { message, lost_ports: false }
            }
        }

        impl<R: Serialize> Serialize for $message<R> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                carried::foreign(|| self.message.serialize(serializer)).0
            }
        }

        impl<'de, R: Deserialize<'de>> Deserialize<'de> for $message<R> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (message, lost_ports) = carried::foreign(|| R::deserialize(deserializer));
                Ok($message { message: message?, lost_ports })
            }
        }
    };
}

without_ports!(Request);
without_ports!(Reply);

/// What is said of a method that came with ports.
const PORTS_DO_NOT_TRAVEL: &str =
    "it passes a stream, sender or client, which tarpc's transports cannot carry; connect by panpipe's own";

impl<R: crate::service::Request> tarpc::RequestName for Request<R> {
    fn name(&self) -> &str {
        self.message.name()
    }
}

/// What a call that carries metadata fails with.
const METADATA_DO_NOT_TRAVEL: &str =
    "tarpc's transports carry no metadata; connect by panpipe's own, or pass the value as an argument";

impl<I: ServiceImpl> tarpc::server::Serve for Serve<I> {
    type Req = Request<I::Req>;
    type Resp = Reply<I::Resp>;

    async fn serve(self, context: context::Context, request: Self::Req) -> Result<Self::Resp, ServerError> {
        let method = request.message.name();
        if request.lost_ports {
            return Err(ServerError::new(
                io::ErrorKind::InvalidInput,
                format!("{method}: {PORTS_DO_NOT_TRAVEL}"),
            ));
        }
        // Who calls over tarpc's transports, tarpc does not tell.
        let context = CallContext {
            who: Caller::of(Peer::unknown()),
            method,
            version: Some(I::VERSION),
            nesting: 0,
            deadline: Some(context.deadline),
            labels: from_tarpc(&context.trace_context).map(Labels::of_trace),
        };
        let handler = Box::pin(self.service.respond(request.message));
        InContext::new(context, handler)
            .await
            .map(Reply::new)
            .map_err(|error| ServerError::new(io::ErrorKind::Other, format!("{method}: {error}")))
    }
}

/// Makes a generated client of any stub of stock tarpc: a channel, a load
/// balancer, a retry.
///
/// Calls are made by the future that comes with the client; spawn it. It ends
/// when the client and its clones are gone.
///
/// tarpc knows no calls without a deadline: those get a year.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Clock { async fn now(&self) -> u64; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use tarpc::tokio_serde::formats::Json;
///
/// let transport = tarpc::serde_transport::tcp::connect("localhost:4000", Json::default).await?;
/// let stub = tarpc::client::new(tarpc::client::Config::default(), transport).spawn();
/// let (clock, calls): (ClockClient, _) = panpipe::tarpc::client(stub);
/// tokio::spawn(calls);
/// println!("{}", clock.now().await?);
/// # Ok(())
/// # }
/// ```
pub fn client<C, S>(stub: S) -> (C, impl Future<Output = ()>)
where
    C: ServiceClient,
    S: Stub<Req = Request<C::Req>, Resp = Reply<C::Resp>>,
    Request<C::Req>: tarpc::RequestName,
{
    let (jobs, mut todo) = mpsc::channel::<Job<C::Req, C::Resp>>(limits::MAX_CALLS as usize);
    let calls = async move {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                job = todo.recv() => match job {
                    Some(job) => running.push(run(&stub, job)),
                    None => break,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
        while running.next().await.is_some() {}
    };
    (C::from_inner(Client::of_typed(Arc::new(Jobs { jobs }))), calls)
}

struct Job<Req, Resp> {
    context: context::Context,
    request: Req,
    reply: oneshot::Sender<Result<Resp, CallError>>,
}

async fn run<Req, Resp, S>(stub: &S, job: Job<Req, Resp>)
where
    S: Stub<Req = Request<Req>, Resp = Reply<Resp>>,
    Request<Req>: tarpc::RequestName,
{
    let Job { context, request, mut reply } = job;
    tokio::select! {
        result = stub.call(context, Request::new(request)) => {
            let result = match result {
                Ok(response) if response.lost_ports => {
                    Err(CallError::Malformed(PORTS_DO_NOT_TRAVEL.to_owned()))
                }
                Ok(response) => Ok(response.message),
                Err(error) => Err(call_error(error)),
            };
            // Nobody may be waiting any more; then the result is nobody's.
            let _ = reply.send(result);
        }
        () = reply.closed() => {}
    }
}

struct Jobs<Req, Resp> {
    jobs: mpsc::Sender<Job<Req, Resp>>,
}

impl<Req: Send + 'static, Resp: Send + 'static> TypedCarrier<Req, Resp> for Jobs<Req, Resp> {
    fn call(&self, _: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<Resp> {
        let CallTerms { deadline, labels } = terms;
        let jobs = self.jobs.clone();
        Box::pin(async move {
            if labels.as_ref().is_some_and(|labels| labels.metadata.is_some()) {
                return Err(CallError::Unsupported(METADATA_DO_NOT_TRAVEL.to_owned()));
            }
            let mut context = context::current();
            context.deadline = deadline.unwrap_or_else(|| clock::system() + limits::LONGEST_DEADLINE);
            if let Some(trace) = labels.as_ref().and_then(|labels| labels.trace) {
                context.trace_context = to_tarpc(&trace);
            }
            let (reply, result) = oneshot::channel();
            let unsent = |_| CallError::Disconnected { sent: false };
            jobs.send(Job { context, request, reply }).await.map_err(unsent)?;
            result.await.unwrap_or(Err(CallError::Disconnected { sent: true }))
        })
    }

    fn oneway(&self, info: &'static MethodInfo, request: Req, terms: CallTerms) -> TypedCall<()> {
        // tarpc has no one-way calls: the reply is waited for by nobody's task.
        let call = self.call(info, request, terms);
        Box::pin(async move {
            tokio::spawn(call);
            Ok(())
        })
    }

    fn flush(&self) -> TypedCall<()> {
        let why = "tarpc has no one-way calls whose arrival could be waited for; connect by panpipe's own";
        Box::pin(std::future::ready(Err(CallError::Unsupported(why.to_owned()))))
    }
}

/// The trace that a request of tarpc's belongs to; none where its caller has none.
fn from_tarpc(context: &tarpc::trace::Context) -> Option<TraceContext> {
    let (trace_id, span_id) = (u128::from(context.trace_id), u64::from(context.span_id));
    let sampled = context.sampling_decision == SamplingDecision::Sampled;
    (trace_id != 0 && span_id != 0).then_some(TraceContext { trace_id, span_id, sampled })
}

fn to_tarpc(trace: &TraceContext) -> tarpc::trace::Context {
    let TraceContext { trace_id, span_id, sampled } = *trace;
    let mut context = tarpc::trace::Context::default();
    (context.trace_id, context.span_id) = (trace_id.into(), span_id.into());
    context.sampling_decision = if sampled { SamplingDecision::Sampled } else { SamplingDecision::Unsampled };
    context
}

fn call_error(error: RpcError) -> CallError {
    match error {
        RpcError::Shutdown | RpcError::Send(_) => CallError::Disconnected { sent: false },
        RpcError::Channel(_) => CallError::Disconnected { sent: true },
        RpcError::DeadlineExceeded => CallError::DeadlineExceeded,
        RpcError::Server(error) if error.kind == io::ErrorKind::WouldBlock => CallError::Overloaded,
        RpcError::Server(error) if error.kind == io::ErrorKind::InvalidInput => {
            CallError::Malformed(error.detail)
        }
        RpcError::Server(_) => CallError::Panicked,
    }
}
