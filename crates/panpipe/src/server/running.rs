//! A server that runs.

use panpipe_transport::PipeName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ServeError;
use crate::hub::Hub;

/// A server at work. Dropping it leaves the server running.
#[derive(Debug)]
pub struct RunningServer {
    name: PipeName,
    hub: Hub,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningServer {
    pub(crate) fn new(name: PipeName, hub: Hub, stop: watch::Sender<bool>, task: JoinHandle<()>) -> Self {
        RunningServer { name, hub, stop, task }
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

    /// Takes no new clients and no new calls, lets running calls finish for as
    /// long as the server's grace allows, and ends.
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        self.wait().await
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    ///
    /// When the server's task has panicked.
    pub async fn wait(self) -> Result<(), ServeError> {
        // The sender lives on: the server ends when it is told to, not when this is dropped.
        Ok(self.task.await?)
    }
}
