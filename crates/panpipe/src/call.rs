//! What a handler can ask about the call that it answers.

use std::cell::RefCell;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use panpipe_transport::{ImpersonateError, OpenError, PathOpener, Peer};

use crate::hub::ClientId;
use crate::labels::Labels;
use crate::metadata::{Metadata, MetadataError, MetadataSet};
use crate::session::Session;
use crate::trace::TraceContext;

/// What is known of the call that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    /// Who is at the other end.
    pub(crate) who: Caller,
    pub(crate) method: &'static str,
    /// The version of the service that the caller speaks, as far as it is known.
    pub(crate) version: Option<u32>,
    /// How deep the calls nest that the handler makes of its caller.
    pub(crate) nesting: u32,
    pub(crate) deadline: Option<Instant>,
    pub(crate) labels: Option<Arc<Labels>>,
}

impl CallContext {
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.labels.as_ref().and_then(|labels| labels.trace)
    }

    pub(crate) fn metadata(&self) -> Option<&MetadataSet> {
        self.labels.as_ref().and_then(|labels| labels.metadata.as_ref())
    }
}

/// Who is at the other end of a call. It is small, since a context is moved to where
/// handlers find it and back with each call.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Whoever is at the other end of a session.
    Over(Arc<Session>),
    /// A process that is not reached over one.
    Known(Box<Peer>),
}

impl Caller {
    pub(crate) fn of(peer: Peer) -> Self {
        Caller::Known(Box::new(peer))
    }

    pub(crate) fn peer(&self) -> &Peer {
        match self {
            Caller::Over(session) => session.peer(),
            Caller::Known(peer) => peer,
        }
    }

    /// The session that the call came over.
    fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Caller::Over(session) => Some(session),
            Caller::Known(_) => None,
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<CallContext>> = const { RefCell::new(None) };
}

/// Makes a call the current one of this thread, until the guard is dropped: then it is
/// back in its place.
pub(crate) fn enter(place: &mut Option<CallContext>) -> Entered<'_> {
    CURRENT.with_borrow_mut(|current| std::mem::swap(current, place));
    // Meanwhile the call before is kept there.
    Entered { place }
}

pub(crate) struct Entered<'a> {
    place: &'a mut Option<CallContext>,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.place));
    }
}

fn of_current<R>(ask: impl FnOnce(&CallContext) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_ref().map(ask))
}

/// What a call that is made here inherits of the one that is being answered.
#[inline]
pub(crate) fn inherited() -> (Option<Instant>, Option<Arc<Labels>>) {
    of_current(|call| (call.deadline, call.labels.clone())).unwrap_or_default()
}

/// How deep a call of this session nests that is made here: 0 if this code runs in no handler
/// that answers a call of the session.
pub(crate) fn nesting_in(session: u64) -> u32 {
    let is_over_it = |call: &CallContext| call.who.session().is_some_and(|known| known.id() == session);
    of_current(|call| if is_over_it(call) { call.nesting } else { 0 }).unwrap_or(0)
}

/// The process that made the call which the current handler answers.
///
/// Outside a handler, and in a task that a handler has spawned, nothing is
/// known of a caller and every field is `None`: ask first, and hand the answer
/// on. Never take an unknown peer for a trusted one.
///
/// ```
/// # struct Db;
/// # impl Db {
/// async fn whoami(&self) -> String {
///     panpipe::call::peer().to_string()
/// }
/// # }
/// ```
#[must_use]
pub fn peer() -> Peer {
    of_current(|call| call.who.peer().clone()).unwrap_or_else(Peer::unknown)
}

/// The client that made the call which the current handler answers, as the server's
/// [`Hub`](crate::Hub) knows it; `None` outside a handler, and where the call came
/// over no connection.
#[must_use]
pub fn client() -> Option<ClientId> {
    of_current(|call| call.who.session().map(|session| ClientId(session.id()))).flatten()
}

/// Runs `f` with the rights of the process that made the call which the current
/// handler answers: its user, its group and its supplementary groups, and without any
/// capability. What the caller may, the system decides, and not the handler.
///
/// `f` runs on a thread of its own, of which alone the *effective* ids are changed,
/// verified, and put back, so it may block. **It must not start programs or threads.**
///
/// **`f` still runs in the server's process**, whose open files, memory and terminal it
/// reaches through `/proc/self`, `/dev/fd` and `/dev/tty`. Open a path that the caller has
/// named by [`open`], or by a [`PathOpener`] inside of `f`. See [`Peer::impersonate`], which
/// this does with [`peer()`], for everything else that `f` may and may not rely on.
///
/// The server has to be root, or have CAP_SETUID and CAP_SETGID, unless the caller has
/// the very user, group and groups that the server has.
///
/// ```
/// # #[panpipe::service]
/// # pub trait Files { async fn read(&self, path: std::path::PathBuf) -> Result<String, String>; }
/// # struct Disk;
/// # impl Files for Disk {
/// async fn read(&self, path: std::path::PathBuf) -> Result<String, String> {
///     let read = panpipe::call::impersonate(move || {
///         // Not `std::fs::read_to_string(path)`: the path may lead into `/proc/self`.
///         let file = panpipe::PathOpener::new().open(path)?;
///         std::io::read_to_string(file)
///     });
///     match read.await {
///         Ok(Ok(text)) => Ok(text),
///         Ok(Err(error)) => Err(format!("you may not, or there is no such file: {error}")),
///         Err(error) => Err(error.to_string()),
///     }
/// }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let files = FilesClient::local(Disk);
/// # assert!(files.read("/no/such/file".into()).await.unwrap_err().to_string().contains("No such file"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// See [`ImpersonateError`]; with any of them `f` has not run.
///
/// # Panics
///
/// As `f` does: then the caller's error is [`CallError::Panicked`](crate::CallError::Panicked).
///
/// # Cancel safety
///
/// Dropping the future, as when the caller gives up, does not stop an `f` that has begun. An
/// `f` that has not begun by then does not run.
pub fn impersonate<T, F>(f: F) -> impl Future<Output = Result<T, ImpersonateError>> + Send
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // Now, in the handler, wherever this is polled.
    let caller = peer();
    async move { caller.impersonate(f).await }
}

/// Opens a file for reading by an absolute path that the caller has named, with the rights of
/// the process that made the call which the current handler answers.
///
/// Use this for paths that come from a caller, and [`open_with`] where the file is written,
/// created or a directory. [`std::fs`] inside of [`impersonate`] would open `/proc/self/maps`,
/// `/dev/stdin` or `/dev/tty` of the server. See [`PathOpener`] for what is refused.
///
/// ```
/// # #[panpipe::service]
/// # pub trait Files { async fn read(&self, path: std::path::PathBuf) -> Result<String, String>; }
/// # struct Disk;
/// # impl Files for Disk {
/// async fn read(&self, path: std::path::PathBuf) -> Result<String, String> {
///     let file = panpipe::call::open(path).await.map_err(|error| error.to_string())?;
///     std::io::read_to_string(file).map_err(|error| error.to_string())
/// }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let files = FilesClient::local(Disk);
/// # if cfg!(unix) {
/// # let refused = files.read("/proc/self/maps".into()).await.unwrap_err().to_string();
/// # assert!(refused.contains("procfs"), "{refused}");
/// # files.read("/etc/passwd".into()).await?;
/// # }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// See [`OpenError`].
///
/// # Cancel safety
///
/// As [`impersonate`]. A file that was opened meanwhile is closed.
pub fn open(path: impl Into<PathBuf>) -> impl Future<Output = Result<File, OpenError>> + Send {
    open_with(path, PathOpener::new())
}

/// The same as [`open`], in the way that `opener` is set to.
///
/// # Errors
///
/// See [`OpenError`].
///
/// # Cancel safety
///
/// As [`impersonate`]. A file that was opened meanwhile is closed.
pub fn open_with(
    path: impl Into<PathBuf>,
    opener: PathOpener,
) -> impl Future<Output = Result<File, OpenError>> + Send {
    // Looked up in the handler, wherever the future is polled.
    let (caller, path) = (peer(), path.into());
    async move { caller.open(path, opener).await }
}

/// When the call which the current handler answers has to be over, if its
/// caller set a deadline. Calls that the handler makes inherit it.
#[must_use]
pub fn deadline() -> Option<Instant> {
    of_current(|call| call.deadline).flatten()
}

/// Ready when the connection of the call which the current handler answers is to end: its
/// server was told to end, or a client closes. The end waits for the handlers that run, for as
/// long as the server's [`grace`](crate::Server::grace) allows; a handler that would run for
/// longer, or has no end of its own, returns now.
///
/// It is ready at once where the end has begun. Outside a handler, and where the call came
/// over no connection, it is never ready. The current handler is that in which this is
/// called, wherever the future is polled.
///
/// ```
/// # struct News { ticks: tokio::sync::watch::Receiver<u64> }
/// # impl News {
/// /// Returns when there is news, or when the server ends.
/// async fn wait_for_news(&self) -> Option<u64> {
///     let mut ticks = self.ticks.clone();
///     tokio::select! {
///         changed = ticks.changed() => changed.ok().map(|()| *ticks.borrow()),
///         () = panpipe::call::ending() => None,
///     }
/// }
/// # }
/// ```
pub fn ending() -> impl Future<Output = ()> + Send + 'static {
    let ending = of_current(|call| call.who.session().map(Session::ending)).flatten();
    async move {
        match ending {
            Some(ending) => ending.await,
            None => std::future::pending().await,
        }
    }
}

/// Whether the connection of the call which the current handler answers is to end: whether
/// [`ending`] would be ready.
#[must_use]
pub fn is_ending() -> bool {
    of_current(|call| call.who.session().is_some_and(|session| session.is_ending())).unwrap_or(false)
}

/// The method which the current handler answers, as `"Service.method"`;
/// `None` outside a handler.
#[must_use]
pub fn method() -> Option<&'static str> {
    of_current(|call| call.method)
}

/// The version of the service which the caller of the current handler speaks: the
/// newest that both sides do.
///
/// `None` outside a handler, and where nothing was agreed upon: the caller has been
/// given its client as a value. A client of this process, and one of tarpc's, speaks
/// the newest.
#[must_use]
pub fn version() -> Option<u32> {
    of_current(|call| call.version).flatten()
}

/// The trace that the call which the current handler answers belongs to, if any:
/// its caller has sent it, or somebody subscribes to panpipe's spans here. Calls that
/// the handler makes inherit it.
///
/// ```
/// # struct Db;
/// # impl Db {
/// async fn get(&self, key: String) {
///     if let Some(trace) = panpipe::call::trace() {
///         println!("{:032x}: {key} is wanted", trace.trace_id);
///     }
/// }
/// # }
/// ```
#[must_use]
pub fn trace() -> Option<TraceContext> {
    of_current(CallContext::trace).flatten()
}

/// The [metadata](Metadata) of this type that came with the call which the current handler
/// answers; `None` outside a handler, and where the call carries none of that name.
///
/// They are what the caller says, and no proof of who it is. Calls that the handler makes do not
/// carry them on, unless their client was made by `with_inherited_metadata`.
///
/// ```
/// use panpipe::Metadata;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Locale(String);
///
/// impl Metadata for Locale {
///     const NAME: &'static str = "acme.locale";
/// }
///
/// # struct Shop;
/// # impl Shop {
/// async fn greeting(&self) -> String {
///     let locale = panpipe::call::metadata::<Locale>().ok().flatten();
///     match locale.as_ref().map(|locale| locale.0.as_str()) {
///         Some("de") => "Guten Tag".to_owned(),
///         _ => "Good day".to_owned(),
///     }
/// }
/// # }
/// ```
///
/// # Errors
///
/// [`MetadataError::Decode`] where the value of this name is none of the type.
pub fn metadata<M: Metadata>() -> Result<Option<M>, MetadataError> {
    // Decoded behind the look: it runs code of the user's, which may make a call.
    of_current(|call| call.metadata().cloned()).flatten().map_or(Ok(None), |metadata| metadata.get())
}

/// The [metadata](Metadata) of this type that the other side has given for the connection of the
/// call which the current handler answers; `None` outside a handler, where the call came over
/// no connection, and where the other side gave none of that name.
///
/// A connection that is relayed over is the relaying process's.
///
/// # Errors
///
/// [`MetadataError::Decode`] where the value of this name is none of the type;
/// [`MetadataError::OverLimit`] where the other side gave more than this side accepts.
pub fn connection_metadata<M: Metadata>() -> Result<Option<M>, MetadataError> {
    let session = of_current(|call| call.who.session().cloned()).flatten();
    session.map_or(Ok(None), |session| session.peer_metadata::<M>())
}

#[cfg(test)]
impl CallContext {
    /// A call of which nothing is known.
    pub(crate) fn unknown() -> Self {
        CallContext {
            who: Caller::of(Peer::unknown()),
            method: "Nothing.known",
            version: None,
            nesting: 0,
            deadline: None,
            labels: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_nest_and_end_with_their_guard() {
        let context = |method| Some(CallContext { method, ..CallContext::unknown() });
        let (mut outer, mut inner) = (context("A.a"), context("B.b"));
        assert_eq!(method(), None);
        let entered = enter(&mut outer);
        {
            let _inner = enter(&mut inner);
            assert_eq!(method(), Some("B.b"));
        }
        assert_eq!(method(), Some("A.a"));
        drop(entered);
        assert_eq!(method(), None);
        assert_eq!((outer.unwrap().method, inner.unwrap().method), ("A.a", "B.b"));
    }
}
