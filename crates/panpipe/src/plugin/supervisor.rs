//! Looks after a plugin for as long as the host wants it: health, restarts, the end.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::error::PluginError;
use super::event::Event;
use super::instance::{Blueprint, Instance};
use super::process::Ended;
use crate::backoff::{Backoff, Tries};
use crate::clock;
use crate::guarded::guarded;
use crate::limits;
use crate::link::Link;
use crate::sys::StatusUnknown;

/// The host's wish that a plugin ends, in order at first.
pub(super) struct End {
    pub(super) grace: Duration,
    pub(super) done: oneshot::Sender<io::Result<ExitStatus>>,
}

/// The wish that another process takes the place of the one that runs.
pub(super) struct Replace {
    pub(super) done: oneshot::Sender<Result<(), PluginError>>,
}

/// What is known of a plugin at a moment.
pub(super) enum State {
    Running {
        pid: u32,
        link: Arc<Link>,
    },
    /// A process is to take the place of one that has ended, of which this is left.
    Restarting {
        link: Arc<Link>,
    },
    /// It will not run again.
    Over(Option<LastStatus>),
}

/// How the last process of a plugin has ended, as far as that could be found out.
pub(super) type LastStatus = Result<ExitStatus, StatusUnknown>;

/// How a plugin's health is looked after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    pub(super) every: Duration,
    pub(super) within: Duration,
}

pub(super) type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// The task that a plugin has for as long as it may run.
pub(super) struct Supervisor {
    pub(super) blueprint: Blueprint,
    pub(super) restart: Option<Backoff>,
    pub(super) health: Option<Health>,
    pub(super) on_event: Option<OnEvent>,
    pub(super) state: watch::Sender<State>,
    pub(super) ends: mpsc::Receiver<End>,
    pub(super) replacements: mpsc::Receiver<Replace>,
    /// Processes that were replaced, and finish their calls.
    pub(super) leaving: JoinSet<(u32, io::Result<Ended>)>,
}

/// Why a process is not looked after any more.
enum Parting {
    /// It has ended, or is to be ended, without anybody wishing it.
    Failed(Instance),
    Ends(Instance, End),
    Replaced(Instance, Replace),
}

impl Supervisor {
    pub(super) async fn run(mut self, first: Instance) {
        let status = self.run_all(first).await;
        self.state.send_replace(State::Over(status));
    }

    /// Runs one process after the other; gives how the last one ended.
    async fn run_all(&mut self, first: Instance) -> Option<LastStatus> {
        self.tell(|plugin| Event::Started { plugin, pid: first.process.pid() });
        let (mut instance, mut since) = (first, clock::now());
        let (mut tries, mut times) = (None, 0);
        loop {
            let status = match self.look_after(instance).await {
                Parting::Failed(failed) => {
                    // Calls are to wait for the next one.
                    self.state.send_replace(State::Restarting { link: Arc::clone(&failed.link) });
                    let pid = failed.process.pid();
                    last_status(&self.report(pid, end_now(failed).await))
                }
                Parting::Ends(last, end) => return self.end(last, end).await,
                Parting::Replaced(old, wish) => match self.replace(old, wish).await {
                    Ok(next) => {
                        instance = next;
                        continue;
                    }
                    Err((old, end)) => return self.end(old, end).await,
                },
            };
            if clock::now() - since > limits::PLUGIN_STABLE {
                tries = None;
            }
            match self.restart(&mut tries, status).await {
                Some(next) => instance = next,
                None => return status,
            }
            since = clock::now();
            times += 1;
            self.is_running(&instance);
            self.tell(|plugin| Event::Restarted { plugin, pid: instance.process.pid(), times });
        }
    }

    /// Watches over a process until it fails or something is wished.
    async fn look_after(&mut self, mut instance: Instance) -> Parting {
        let health = self.health;
        let link = Arc::clone(&instance.link);
        let unhealthy = async move {
            match health {
                Some(health) => sick(&link, health).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(unhealthy);
        loop {
            tokio::select! {
                () = instance.process.ended() => return Parting::Failed(instance),
                _ = instance.connection.ended() => {
                    // It may be about to end, and is of no use in any case.
                    let _ = timeout(limits::PLUGIN_LAST_WORDS, instance.process.ended()).await;
                    return Parting::Failed(instance);
                }
                () = &mut unhealthy => {
                    self.tell(|plugin| Event::Unhealthy { plugin, pid: instance.process.pid() });
                    return Parting::Failed(instance);
                }
                Some(end) = self.ends.recv() => return Parting::Ends(instance, end),
                Some(wish) = self.replacements.recv() => return Parting::Replaced(instance, wish),
                Some(left) = self.leaving.join_next() => self.has_left(left),
            }
        }
    }

    /// Tries to start a process until it is time to give up, or nobody wants it.
    async fn restart(&mut self, tries: &mut Option<Tries>, status: Option<LastStatus>) -> Option<Instance> {
        let backoff = self.restart.clone()?;
        loop {
            let tries = tries.get_or_insert_with(|| backoff.begin(clock::now()));
            let Some(pause) = tries.failed(clock::now()) else {
                self.tell(|plugin| Event::GaveUp { plugin });
                return None;
            };
            match self.start_after(pause).await {
                Ok(Ok(instance)) => return Some(instance),
                Ok(Err(error)) => self.tell(|plugin| Event::StartFailed { plugin, error: error.to_string() }),
                Err(End { grace, done }) => {
                    self.let_go(grace).await;
                    let _ = done.send(status_or_error(status));
                    return None;
                }
            }
        }
    }

    /// Starts a process where none runs. An error: the plugin is to end.
    async fn start_after(&mut self, pause: Duration) -> Result<Result<Instance, PluginError>, End> {
        let start = async {
            sleep(pause).await;
            self.blueprint.start().await
        };
        tokio::pin!(start);
        loop {
            tokio::select! {
                started = &mut start => return Ok(started),
                Some(end) = self.ends.recv() => return Err(end),
                // Whoever wishes it learns that none runs.
                Some(_) = self.replacements.recv() => {}
            }
        }
    }

    /// Starts the next process beside one that runs, and lets that one go in order once
    /// it is replaced. Gives the old one where it cannot be. An error: it is to end.
    async fn replace(
        &mut self,
        old: Instance,
        Replace { done }: Replace,
    ) -> Result<Instance, (Instance, End)> {
        let started = tokio::select! {
            started = self.blueprint.start() => started,
            Some(end) = self.ends.recv() => return Err((old, end)),
        };
        let next = match started {
            Ok(next) => next,
            Err(error) => {
                self.tell(|plugin| Event::StartFailed { plugin, error: error.to_string() });
                let _ = done.send(Err(error));
                return Ok(old);
            }
        };
        self.is_running(&next);
        let _ = done.send(Ok(()));
        self.tell(|plugin| Event::Started { plugin, pid: next.process.pid() });
        let pid = old.process.pid();
        self.leaving.spawn(async move { (pid, end_in_order(old, limits::DRAIN).await) });
        Ok(next)
    }

    /// Ends the last process, as is wished.
    async fn end(&mut self, last: Instance, End { grace, done }: End) -> Option<LastStatus> {
        self.state.send_replace(State::Over(None));
        let pid = last.process.pid();
        let (ended, ()) = tokio::join!(end_in_order(last, grace), self.let_go(grace));
        let ended = self.report(pid, ended);
        let status = last_status(&ended);
        // Who has wished it may not wait any more.
        let _ = done.send(ended);
        status
    }

    /// Waits until those have ended that were replaced; kills them after `grace`.
    async fn let_go(&mut self, grace: Duration) {
        let all = async {
            while let Some(left) = self.leaving.join_next().await {
                self.has_left(left);
            }
        };
        let _ = timeout(grace, all).await;
        self.leaving.shutdown().await;
    }

    fn has_left(&self, left: Result<(u32, io::Result<Ended>), JoinError>) {
        if let Ok((pid, ended)) = left {
            let _ = self.report(pid, ended);
        }
    }

    fn is_running(&self, instance: &Instance) {
        let (pid, link) = (instance.process.pid(), Arc::clone(&instance.link));
        self.state.send_replace(State::Running { pid, link });
    }

    fn report(&self, pid: u32, ended: io::Result<Ended>) -> io::Result<ExitStatus> {
        let Ended { status, stderr_tail } = ended.inspect_err(|error| {
            tracing::warn!(plugin = %self.blueprint.name, pid, "nothing is known of a plugin's end: {error}");
        })?;
        self.tell(|plugin| Event::Exited { plugin, pid, status, stderr_tail });
        Ok(status.ok_or(StatusUnknown)?)
    }

    fn tell(&self, event: impl FnOnce(Arc<str>) -> Event) {
        let name = &self.blueprint.name;
        let event = &event(Arc::clone(name));
        match event {
            Event::Started { .. } | Event::Restarted { .. } => tracing::debug!(plugin = %name, "{event}"),
            _ => tracing::warn!(plugin = %name, "{event}"),
        }
        if let Some(on_event) = &self.on_event {
            guarded("on_event", || on_event(event));
        }
    }
}

fn last_status(ended: &io::Result<ExitStatus>) -> Option<LastStatus> {
    match ended {
        Ok(status) => Some(Ok(*status)),
        Err(error) if StatusUnknown::is_in(error) => Some(Err(StatusUnknown)),
        Err(_) => None,
    }
}

/// What a host is told that ends a plugin.
pub(super) fn status_or_error(status: Option<LastStatus>) -> io::Result<ExitStatus> {
    let status = status.ok_or_else(|| io::Error::other("nothing is known of the plugin's end"))?;
    Ok(status?)
}

/// Ready when a plugin does not answer in time.
async fn sick(link: &Arc<Link>, health: Health) {
    loop {
        sleep(health.every).await;
        if timeout(health.within, link.ping()).await.is_err() {
            return;
        }
    }
}

/// Ends a process that is of no use any more.
async fn end_now(instance: Instance) -> io::Result<Ended> {
    let Instance { process, link, mut connection } = instance;
    process.kill();
    // What it had written before it ended still counts.
    let _ = timeout(limits::PLUGIN_LAST_WORDS, connection.ended()).await;
    link.close();
    process.end().await
}

/// Goodbye, the end of the connection, SIGTERM, SIGKILL, each when the one before did
/// not do.
async fn end_in_order(instance: Instance, grace: Duration) -> io::Result<Ended> {
    let Instance { process, link, mut connection } = instance;
    link.drain();
    if timeout(grace, process.ended()).await.is_err() {
        link.close();
        process.terminate();
        if timeout(limits::PLUGIN_TERMINATE, process.ended()).await.is_err() {
            process.kill();
        }
    }
    let ended = process.end().await;
    // What it had written before it ended still counts.
    let _ = timeout(limits::PLUGIN_LAST_WORDS, connection.ended()).await;
    ended
}
