//! A client of a service in the same process: without a pipe, and without bytes unless asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use panpipe_transport::Peer;

use crate::call::{self, CallContext, Caller};
use crate::call_terms::CallTerms;
use crate::client::{Client, ServiceClient, TypedCall, TypedCarrier};
use crate::codec::Codec;
use crate::error::CallError;
use crate::guarded::caught;
use crate::limits::IN_MEMORY;
use crate::link::over_memory;
use crate::offers::Offers;
use crate::ordered::Ordered;
use crate::service::{AnyService, MethodInfo, Serve, ServiceImpl};
use crate::session::Config;
use crate::timer::within;

struct Local<I> {
    service: Arc<I>,
    /// Stands for a connection where calls are ordered.
    connection: u64,
}

impl<I: ServiceImpl> Local<I> {
    fn new(service: Arc<I>) -> Self {
        // Sessions count up from 1.
        static NEXT: AtomicU64 = AtomicU64::new(u64::MAX);
        Local { service, connection: NEXT.fetch_sub(1, Ordering::Relaxed) }
    }

    /// Starts a call: from here on it has its place in the order.
    fn start(
        service: &Arc<I>,
        connection: u64,
        info: &'static MethodInfo,
        request: I::Req,
        CallTerms { deadline, labels }: CallTerms,
    ) -> Result<impl Future<Output = Result<I::Resp, CallError>> + Send + use<I>, CallError> {
        if let Some(error) = labels.as_ref().and_then(|labels| labels.metadata.as_ref()?.fault()) {
            return Err(error);
        }
        let context = CallContext {
            who: Caller::of(Peer::this_process()),
            method: info.name,
            version: Some(I::VERSION),
            nesting: 0,
            deadline,
            labels,
        };
        let handler = Arc::clone(service).respond(request);
        let handler = match service.ticket(info.id, connection) {
            None => InContext::new(context, Box::pin(handler)),
            Some(ticket) => InContext::new(context, Box::pin(Ordered::new(ticket, handler))),
        };
        Ok(async move {
            match deadline {
                None => handler.await,
                Some(at) => within(at, None, handler).await.unwrap_or(Err(CallError::DeadlineExceeded)),
            }
        })
    }
}

impl<I: ServiceImpl> TypedCarrier<I::Req, I::Resp> for Local<I> {
    fn call(&self, info: &'static MethodInfo, request: I::Req, terms: CallTerms) -> TypedCall<I::Resp> {
        let (service, connection) = (Arc::clone(&self.service), self.connection);
        // Once it is polled: a call that is never made is in the way of no other.
        Box::pin(async move { Local::start(&service, connection, info, request, terms)?.await })
    }

    fn oneway(&self, info: &'static MethodInfo, request: I::Req, terms: CallTerms) -> TypedCall<()> {
        let (service, connection) = (Arc::clone(&self.service), self.connection);
        Box::pin(async move {
            tokio::spawn(Local::start(&service, connection, info, request, terms)?);
            Ok(())
        })
    }

    fn flush(&self) -> TypedCall<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn service(&self) -> Option<Arc<dyn AnyService>> {
        Some(Arc::new(Serve { service: Arc::clone(&self.service) }))
    }
}

/// A handler that knows its call and whose panic is an error.
pub(crate) struct InContext<R> {
    context: Option<CallContext>,
    handler: Pin<Box<dyn Future<Output = R> + Send>>,
}

impl<R> InContext<R> {
    pub(crate) fn new(context: CallContext, handler: Pin<Box<dyn Future<Output = R> + Send>>) -> Self {
        InContext { context: Some(context), handler }
    }
}

impl<R> Future for InContext<R> {
    type Output = Result<R, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let InContext { context, handler } = self.get_mut();
        let _current = call::enter(context);
        match caught(|| handler.as_mut().poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(CallError::Panicked)),
        }
    }
}

/// Makes a client that calls `service` in this process over a connection in memory.
pub fn local_encoded<C, I>(service: Serve<I>, codec: Codec) -> C
where
    C: ServiceClient,
    I: ServiceImpl,
{
    let (client, server) = tokio::io::duplex(IN_MEMORY);
    let offers = Offers::of(service);
    let config = Config { offers: offers.infos(), ..Config::acceptor() };
    let (connection, driver) = over_memory(server, config).with_offers(offers).into_parts();
    tokio::spawn(async move {
        driver.await;
        drop(connection);
    });
    let config = Config { codec, ..Config::dialer(C::info()) };
    C::from_inner(Client::of_link(over_memory(client, config).start()))
}

/// Makes a client that calls `service` in place.
pub fn local<I: ServiceImpl>(service: Serve<I>) -> Client<I::Req, I::Resp> {
    Client::of_typed(Arc::new(Local::new(service.service)))
}
