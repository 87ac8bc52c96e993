//! What a generated service is to the engine.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::dispatch::{Dispatched, IncomingCall};
use crate::ordered::OrderTicket;
use crate::session::ServiceInfo;
use crate::type_check::Checked;

/// What a type parameter of a service trait must be able to do.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a type argument of a service",
    label = "`{Self}` must implement serde's `Serialize` and `Deserialize`, `Send` and `Sync`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to a type of your own"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Wire for T {}

/// A request of a generated service, as stock tarpc carries it.
pub trait Request: Send + 'static {
    /// The method asked for, as `"Service.method"`.
    fn name(&self) -> &'static str;
}

/// What the attribute generates for a service trait.
pub trait ServiceImpl: Send + Sync + Sized + 'static {
    /// Every request as one type.
    type Req: Request;
    /// Every response as one type.
    type Resp: Send + 'static;

    /// The newest version that it speaks.
    const VERSION: u32;

    /// The service's name and versions.
    fn info() -> ServiceInfo;

    /// Answers one call that came in as bytes.
    fn dispatch(self: &Arc<Self>, call: IncomingCall<'_>) -> Dispatched;

    /// A ticket for a call of an ordered method that has arrived; `None` for any other method.
    fn ticket(&self, method: u64, connection: u64) -> Option<OrderTicket> {
        let _ = (method, connection);
        None
    }

    /// Answers one call of an ordered method.
    fn dispatch_in_order(self: &Arc<Self>, call: IncomingCall<'_>, ticket: OrderTicket) -> Dispatched {
        drop(ticket);
        call.unknown_method()
    }

    /// Answers one request that came in as a value.
    fn respond(self: Arc<Self>, request: Self::Req) -> impl Future<Output = Self::Resp> + Send;
}

/// What is known of a method when its trait is compiled.
#[derive(Debug)]
pub struct MethodInfo {
    pub(crate) name: &'static str,
    pub(crate) id: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    /// The first version that has it, if not all have.
    pub(crate) since: Option<u32>,
    pub(crate) checked: Checked,
}

impl MethodInfo {
    /// A method by its full name, `"Service.method"`, and the hash that
    /// addresses it.
    #[must_use]
    pub const fn new(name: &'static str, id: u64) -> Self {
        MethodInfo {
            name,
            id,
            timeout: None,
            idempotent: false,
            since: None,
            checked: Checked::nothing(false),
        }
    }

    /// The same method with a deadline for every call of it.
    #[must_use]
    pub const fn with_timeout(self, timeout: Duration) -> Self {
        MethodInfo { timeout: Some(timeout), ..self }
    }

    /// The same method, of which a call may be run twice as well as once.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        MethodInfo { idempotent: true, ..self }
    }

    /// The same method, whose types depend on type parameters.
    #[must_use]
    pub const fn generic(self) -> Self {
        MethodInfo { checked: Checked::nothing(true), ..self }
    }

    /// The same method, which is there from a version on.
    #[must_use]
    pub const fn since(self, version: u32) -> Self {
        MethodInfo { since: Some(version), ..self }
    }
}

/// A service object, ready to be served: what `.serve()` of a service trait
/// makes of an implementation.
///
/// Hand it to [`serve`](crate::serve), to a [`Server`](crate::Server), to a
/// child as an offer. With the feature `tarpc` it is also a
/// `tarpc::server::Serve`.
#[derive(Debug)]
pub struct Serve<I> {
    pub(crate) service: Arc<I>,
}

impl<I> Serve<I> {
    /// What generated code wraps an implementation in.
    #[doc(hidden)]
    pub fn new(service: I) -> Self {
        Serve { service: Arc::new(service) }
    }
}

impl<I> Clone for Serve<I> {
    fn clone(&self) -> Self {
        Serve { service: Arc::clone(&self.service) }
    }
}

/// A service of any type, as a session holds it.
pub(crate) trait AnyService: Send + Sync {
    fn dispatch(&self, call: IncomingCall<'_>) -> Dispatched;

    /// See [`ServiceImpl::ticket`].
    fn ticket(&self, _method: u64, _connection: u64) -> Option<OrderTicket> {
        None
    }

    /// See [`ServiceImpl::dispatch_in_order`].
    fn dispatch_in_order(&self, call: IncomingCall<'_>, ticket: OrderTicket) -> Dispatched {
        drop(ticket);
        call.unknown_method()
    }
}

impl<I: ServiceImpl> AnyService for Serve<I> {
    fn dispatch(&self, call: IncomingCall<'_>) -> Dispatched {
        self.service.dispatch(call)
    }

    fn ticket(&self, method: u64, connection: u64) -> Option<OrderTicket> {
        self.service.ticket(method, connection)
    }

    fn dispatch_in_order(&self, call: IncomingCall<'_>, ticket: OrderTicket) -> Dispatched {
        self.service.dispatch_in_order(call, ticket)
    }
}

/// A service, and the version of it that is spoken with who calls it.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) service: Arc<dyn AnyService>,
    /// `None` where none has been agreed upon: it has been passed as a value.
    pub(crate) version: Option<u32>,
}

/// How long the full name of a method is.
///
/// # Panics
///
/// When the service's name has not 1 to 255 bytes: an error where the trait is compiled.
#[doc(hidden)]
#[must_use]
pub const fn joined_len(service: &str, method: &str) -> usize {
    assert!(!service.is_empty() && service.len() <= 255, "a service's name has 1 to 255 bytes");
    service.len() + 1 + method.len()
}

/// The full name of a method as bytes.
#[doc(hidden)]
#[must_use]
pub const fn joined<const LEN: usize>(service: &str, method: &str) -> [u8; LEN] {
    let (service, method) = (service.as_bytes(), method.as_bytes());
    let mut name = [b'.'; LEN];
    let mut at = 0;
    while at < service.len() {
        name[at] = service[at];
        at += 1;
    }
    let mut at = 0;
    while at < method.len() {
        name[service.len() + 1 + at] = method[at];
        at += 1;
    }
    name
}

/// The full name of a method as text.
///
/// # Panics
///
/// When the bytes are no text.
#[doc(hidden)]
#[must_use]
pub const fn join(name: &[u8]) -> &str {
    match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => panic!("two texts make a text"),
    }
}

/// Joins a generic service's name and the names of its type arguments.
#[doc(hidden)]
#[must_use]
pub fn generic_name(name: &str, arguments: &[&str]) -> Cow<'static, str> {
    Cow::Owned(format!("{name}<{}>", arguments.join(", ")))
}
