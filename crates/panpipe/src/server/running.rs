//! A server that runs.

use panpipe_transport::PipeName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ServeError;
use super::stop::Stop;
use crate::hub::Hub;

/// A server that runs.
///
/// Dropping this ends the server in order, in the background, as
/// [`shutdown`](Self::shutdown) does: what a value of panpipe's runs, a server, a child or a
/// plugin, ends with that value. To have the server outlive it, [`detach`](Self::detach) it.
#[derive(Debug)]
#[must_use = "the server ends when this is dropped; `wait()` for it, or `detach()` it"]
pub struct RunningServer {
    name: PipeName,
    hub: Hub,
    /// `None` once it is not to end with this any more.
    stop: Option<watch::Sender<Stop>>,
    /// `None` once it has ended.
    task: Option<JoinHandle<()>>,
}

impl RunningServer {
    pub(crate) fn new(name: PipeName, hub: Hub, stop: watch::Sender<Stop>, task: JoinHandle<()>) -> Self {
        RunningServer { name, hub, stop: Some(stop), task: Some(task) }
    }

    /// The name that is served.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Who is connected.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What tells the server to end.
    pub(super) fn stop_sender(&self) -> watch::Sender<Stop> {
        self.stop.clone().unwrap_or_else(|| watch::Sender::new(Stop::No))
    }

    /// Takes no new clients and no new calls, lets running calls finish for as
    /// long as the server's [grace](crate::Server::grace) allows, and ends. Handlers learn of
    /// it by [`call::ending`](crate::call::ending).
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.end();
        self.wait().await
    }

    /// Waits until the server has ended. Dropping the future drops this, and so ends the
    /// server in order.
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn wait(mut self) -> Result<(), ServeError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        Ok(ended?)
    }

    /// Leaves the server running, until its [`until`](crate::Server::until) is ready or its
    /// runtime ends.
    pub fn detach(mut self) {
        self.stop = None;
    }

    fn end(&self) {
        if let (Some(stop), Some(_)) = (&self.stop, &self.task) {
            stop.send_if_modified(|stop| std::mem::replace(stop, (*stop).max(Stop::InOrder)) == Stop::No);
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.end();
    }
}
