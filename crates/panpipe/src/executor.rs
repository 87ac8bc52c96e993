//! Who polls what a connection has going on besides its calls: handlers that are still
//! pending, streams that are being sent.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::blocking::Crew;
use crate::clock::Clock;

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

    /// The clock that counts the times of the connection.
    pub(crate) fn clock(&self) -> Clock {
        match self {
            Executor::Runtime(runtime) if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread => {
                Clock::Runtime
            }
            Executor::Runtime(_) | Executor::Threads(_) => Clock::System,
        }
    }

    /// The runtime, unless the connection is one of threads.
    #[inline]
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        match self {
            Executor::Runtime(runtime) => Some(runtime),
            Executor::Threads(_) => None,
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
