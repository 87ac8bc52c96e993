//! A plugin that runs, as its host holds it.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::builder::PluginBuilder;
use super::error::PluginError;
use super::supervisor::{End, Replace, State, status_or_error};
use crate::backoff::Backoff;
use crate::client::{Client, ServiceClient};
use crate::error::CallError;
use crate::link::Link;
use crate::reconnect::{NextLink, Reconnecting, Source};

/// A plugin: a child process as an object with typed methods, whose whole life is
/// looked after.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Formatter { async fn format(&self, source: String) -> String; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Command;
/// use std::time::Duration;
///
/// use panpipe::{Backoff, Plugin};
///
/// let plugin = Plugin::spawn(Command::new("fmt-plugin"))
///     .cookie("ACME_PLUGIN")
///     .restart(Backoff::exponential().attempts(3))
///     .on_event(|event| eprintln!("{event}"))
///     .start::<FormatterClient>()
///     .await?;
/// println!("{}", plugin.client().format("fn main(){}".to_owned()).await?);
/// plugin.shutdown(Duration::from_secs(2)).await?;
/// # Ok(())
/// # }
/// ```
///
/// The process has two anonymous pipes of its own, its standard streams, and no other
/// handle of the host's. It leads a session of its own, so it has no terminal: `/dev/tty`
/// does not open there. When it ends, what is left of its process group is killed. Neither it nor its group outlives its host, however the host ends; a
/// process that has left the group, as a daemon does, is on its own. On Windows it is
/// put into a job object to the same end.
///
/// Dropping this kills the plugin, as soon as the runtime runs in which it was started,
/// and so does the end of that runtime; [`shutdown`](Self::shutdown) ends it in order.
/// What was killed with a runtime is reaped by the next one of the process.
pub struct Plugin<C> {
    client: C,
    handle: Handle,
}

impl<C> fmt::Debug for Plugin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.handle.name).field("pid", &self.handle.pid()).finish()
    }
}

impl Plugin<()> {
    /// A plugin to be started by `command`, a [`std::process::Command`] or a
    /// [`tokio::process::Command`]. Its standard streams are the builder's to set,
    /// whatever the command says of them.
    pub fn spawn(command: impl Into<Command>) -> PluginBuilder {
        PluginBuilder::new(command.into())
    }
}

impl<C: ServiceClient> Plugin<C> {
    pub(super) fn new(handle: Handle, first: Arc<Link>) -> Self {
        Plugin { client: handle.client(first), handle }
    }

    /// The client of the plugin's service. Clones of it, too, follow the plugin from
    /// one process to the next.
    #[must_use]
    pub fn client(&self) -> &C {
        &self.client
    }

    /// What it is called in logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Its process; `None` while there is none.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.handle.pid()
    }

    /// Starts another process of the same command and puts it in the place of the one
    /// that runs, which finishes its calls and ends.
    ///
    /// # Errors
    ///
    /// When the new process does not start: the old one stays. When none runs.
    pub async fn reload(&self) -> Result<(), PluginError> {
        self.handle.reload().await
    }

    /// Waits until the plugin will not run again: it has ended, and is not restarted.
    /// Cancel safe.
    pub async fn ended(&self) {
        self.handle.ended().await;
    }

    /// Ends the plugin: it is told goodbye and finishes its calls; if it has not ended
    /// within `grace` its connection is closed and it is told to end (SIGTERM); a second
    /// later it is killed. It is reaped in any case, and what is left of its group is
    /// killed. A process that a reload has replaced has `grace`, too, and is killed then.
    ///
    /// # Errors
    ///
    /// When the system cannot say how it ended.
    pub async fn shutdown(self, grace: Duration) -> io::Result<ExitStatus> {
        self.handle.shutdown(grace).await
    }
}

/// What all handles of a plugin share.
pub(super) struct Handle {
    pub(super) name: Arc<str>,
    /// How calls that may be made again are.
    pub(super) backoff: Backoff,
    pub(super) state: watch::Receiver<State>,
    pub(super) ends: mpsc::Sender<End>,
    pub(super) replacements: mpsc::Sender<Replace>,
    pub(super) task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // With the task goes the process, and its own children with it.
        self.task.abort();
    }
}

impl Handle {
    pub(super) fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            State::Running { pid, .. } => Some(pid),
            State::Restarting { .. } | State::Over(_) => None,
        }
    }

    /// Whether it will not run again.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.state.borrow(), State::Over(_))
    }

    /// A client of what the plugin offers first.
    pub(super) fn client<C: ServiceClient>(&self, first: Arc<Link>) -> C {
        let source = Follow { state: self.state.clone(), backoff: self.backoff.clone() };
        C::from_inner(Client::of_reconnecting(Reconnecting::of(Arc::new(source), first)))
    }

    pub(super) async fn reload(&self) -> Result<(), PluginError> {
        let (done, replaced) = oneshot::channel();
        let _ = self.replacements.send(Replace { done }).await;
        replaced.await.unwrap_or_else(|_| {
            let source =
                io::Error::new(io::ErrorKind::NotFound, "no process of it runs that could be replaced");
            Err(PluginError::System { program: self.name.to_string(), source })
        })
    }

    /// A client of this service, if it is the one that the plugin offers.
    pub(super) fn offered<C: ServiceClient>(&self) -> Option<C> {
        let link = match &*self.state.borrow() {
            // The next process is of the same program.
            State::Running { link, .. } | State::Restarting { link } => Arc::clone(link),
            State::Over(_) => return None,
        };
        link.is_offered(&C::info()).then(|| self.client(link))
    }

    async fn ended(&self) {
        let mut state = self.state.clone();
        // An error: the supervisor has gone, and the plugin with it.
        let _ = state.wait_for(|state| matches!(state, State::Over(_))).await;
    }

    pub(super) async fn shutdown(self, grace: Duration) -> io::Result<ExitStatus> {
        let (done, ended) = oneshot::channel();
        let _ = self.ends.send(End { grace, done }).await;
        if let Ok(result) = ended.await {
            return result;
        }
        match &*self.state.borrow() {
            State::Over(status) => status_or_error(*status),
            _ => status_or_error(None),
        }
    }
}

/// The connections of a plugin, one after the other.
struct Follow {
    state: watch::Receiver<State>,
    backoff: Backoff,
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plugin")
    }
}

impl Source for Follow {
    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    fn next(&self) -> NextLink<'_> {
        Box::pin(async move {
            let mut state = self.state.clone();
            let usable = |state: &State| match state {
                State::Running { link, .. } => link.takes_calls(),
                State::Restarting { .. } => false,
                State::Over(_) => true,
            };
            // An error: the supervisor has gone, and the plugin with it.
            match state.wait_for(usable).await.as_deref() {
                Ok(State::Running { link, .. }) => Ok(Arc::clone(link)),
                _ => Err(CallError::Disconnected { sent: false }),
            }
        })
    }
}
