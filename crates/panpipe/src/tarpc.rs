//! The seams to stock tarpc: generated services are served by its servers,
//! generated clients call through its stubs.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use panpipe_transport::Peer;
use serde::{Deserialize, Serialize};
use tarpc::client::RpcError;
use tarpc::client::stub::Stub;
use tarpc::{ServerError, context};
use tokio::sync::{mpsc, oneshot};

use crate::call::CallContext;
use crate::client::{Client, ServiceClient, TypedCall, TypedCarrier};
use crate::error::CallError;
use crate::limits;
use crate::local::InContext;
use crate::service::{MethodInfo, Request as _, Serve, ServiceImpl};
use crate::session::Deadline;

/// A request of a generated service, as tarpc's channels carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Request<R>(pub R);

impl<R: crate::service::Request> tarpc::RequestName for Request<R> {
    fn name(&self) -> &str {
        self.0.name()
    }
}

impl<I: ServiceImpl> tarpc::server::Serve for Serve<I> {
    type Req = Request<I::Req>;
    type Resp = I::Resp;

    async fn serve(self, context: context::Context, request: Self::Req) -> Result<Self::Resp, ServerError> {
        let method = request.0.name();
        // Who calls over tarpc's transports, tarpc does not tell.
        let context = CallContext { peer: Peer::unknown(), method, deadline: Some(context.deadline) };
        let handler = Box::pin(self.service.respond(request.0));
        InContext { context, handler }
            .await
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
    S: Stub<Req = Request<C::Req>, Resp = C::Resp>,
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

async fn run<Req, S>(stub: &S, job: Job<Req, S::Resp>)
where
    S: Stub<Req = Request<Req>>,
    Request<Req>: tarpc::RequestName,
{
    let Job { context, request, mut reply } = job;
    tokio::select! {
        result = stub.call(context, Request(request)) => {
            // Nobody may be waiting any more; then the result is nobody's.
            let _ = reply.send(result.map_err(call_error));
        }
        () = reply.closed() => {}
    }
}

struct Jobs<Req, Resp> {
    jobs: mpsc::Sender<Job<Req, Resp>>,
}

impl<Req: Send + 'static, Resp: Send + 'static> TypedCarrier<Req, Resp> for Jobs<Req, Resp> {
    fn call(&self, _: &'static MethodInfo, request: Req, deadline: Option<Deadline>) -> TypedCall<Resp> {
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let mut context = context::current();
            context.deadline =
                deadline.map_or_else(|| Instant::now() + limits::LONGEST_DEADLINE, |deadline| deadline.at);
            let (reply, result) = oneshot::channel();
            let unsent = |_| CallError::Disconnected { sent: false };
            jobs.send(Job { context, request, reply }).await.map_err(unsent)?;
            result.await.unwrap_or(Err(CallError::Disconnected { sent: true }))
        })
    }

    fn oneway(&self, info: &'static MethodInfo, request: Req) -> TypedCall<()> {
        // tarpc has no one-way calls: the reply is waited for by nobody's task.
        let call = self.call(info, request, None);
        Box::pin(async move {
            tokio::spawn(call);
            Ok(())
        })
    }
}

fn call_error(error: RpcError) -> CallError {
    match error {
        RpcError::Shutdown | RpcError::Send(_) => CallError::Disconnected { sent: false },
        RpcError::Channel(_) => CallError::Disconnected { sent: true },
        RpcError::DeadlineExceeded => CallError::DeadlineExceeded,
        RpcError::Server(error) if error.kind == io::ErrorKind::WouldBlock => CallError::Overloaded,
        RpcError::Server(_) => CallError::Panicked,
    }
}
