//! Who polls what a connection has going on besides its calls: handlers that are still
//! pending, streams that are being sent.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::blocking::Crew;

/// Who polls what belongs to a connection.
pub(crate) enum Executor {
    /// A tokio runtime, whose task the connection's driver is too.
    Runtime(Handle),
    /// The threads that wait for something of the connection's.
    Threads(Arc<Crew>),
}

impl Executor {
    /// The runtime of this thread.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn current() -> Self {
        Executor::Runtime(Handle::current())
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Executor::Runtime(runtime) => drop(runtime.spawn(task)),
            Executor::Threads(crew) => crew.spawn(Box::pin(task)),
        }
    }

    /// Something is pending until the peer sends it.
    #[inline]
    pub(crate) fn awaits(&self) {
        if let Executor::Threads(crew) = self {
            crew.awaits();
        }
    }

    /// The threads, if it is they.
    #[inline]
    pub(crate) fn crew(&self) -> Option<&Arc<Crew>> {
        match self {
            Executor::Runtime(_) => None,
            Executor::Threads(crew) => Some(crew),
        }
    }
}
