//! A server at work: it lets clients in, runs their connections, and ends in order.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Listener, PipeStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::admission;
use super::draining::Draining;
use super::room::Room;
use super::setup::ClientSetup;
use super::stop::{Stop, told};
use crate::error::Refusal;
use crate::limits;
use crate::link::over_pipe;
use crate::log_limit::log_limited;
use crate::session::Config;
use crate::sys::Announced;

pub(super) struct Accept {
    pub(super) listener: Listener,
    pub(super) setup: Arc<ClientSetup>,
    pub(super) grace: Duration,
    pub(super) stopping: watch::Receiver<Stop>,
    pub(super) until: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What the service manager knows of this server.
    pub(super) announced: Announced,
}

impl Accept {
    pub(super) async fn run(self) {
        let Accept { listener, setup, grace, mut stopping, mut until, announced } = self;
        let name = listener.name().clone();
        let draining = Arc::new(Draining::default());
        let room = Room::new(setup.limits.max_clients);
        let mut clients = JoinSet::new();
        let mut refusals = JoinSet::new();
        let mut pause = Pause::default();
        loop {
            tokio::select! {
                accepted = listener.accept_any(), if !pause.is_on() => match accepted {
                    Ok(stream) => match room.enter() {
                        Some(visitor) => {
                            pause = Pause::default();
                            clients.spawn(Arc::clone(&setup).serve(stream, visitor, Arc::clone(&draining)));
                        }
                        None => refuse(&mut refusals, stream, admission::too_many(room.taken())),
                    },
                    Err(error) => pause.begin(&error, &listener),
                },
                () = pause.over() => {}
                // With a client its descriptor has gone, of which there may be too few.
                Some(_) = clients.join_next(), if !clients.is_empty() => pause.end(),
                Some(_) = refusals.join_next(), if !refusals.is_empty() => pause.end(),
                () = &mut until => break,
                true = told(&mut stopping, Stop::InOrder) => break,
            }
        }
        drop(announced);
        if setup.running_calls() > 0 {
            tracing::info!(%name, "the server ends: {}", setup.awaits(grace));
        }
        // The name is free from here on, a successor can take it. Who had come to this
        // server, and had not been let in, is told to come again.
        let mut retired = listener.retire();
        draining.begin();
        // What cannot be accepted is turned away with the socket.
        while let Ok(Some(stream)) = retired.accept_any() {
            refuse(&mut refusals, stream, admission::draining());
        }
        drop(retired);
        let all = async {
            while clients.join_next().await.is_some() {}
            while refusals.join_next().await.is_some() {}
        };
        let why = tokio::select! {
            () = all => None,
            () = sleep(grace) => Some("its grace is over"),
            true = told(&mut stopping, Stop::AtOnce) => Some("it was told to end at once"),
        };
        if let Some(why) = why {
            tracing::warn!(%name, "{} clients of the server are cut off: {why}", clients.len());
        }
        clients.shutdown().await;
    }
}

/// Tells a client that it is not served. It is no client that counts.
fn refuse(refusals: &mut JoinSet<()>, stream: PipeStream, refusal: Refusal) {
    log_limited!(debug, peer = %stream.peer(), "a client is refused: {refusal}");
    if refusals.len() < limits::REFUSALS {
        refusals.spawn(say_no(stream, refusal));
    }
}

pub(super) async fn say_no(stream: PipeStream, refusal: Refusal) {
    let (connection, driver) = over_pipe(stream, Config::acceptor()).into_parts();
    connection.refuse(refusal);
    driver.await;
}

/// Nobody is accepted for a while, where the system cannot: mostly it is out of file
/// descriptors, which come back when clients go.
struct Pause {
    sleep: Option<Pin<Box<Sleep>>>,
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Pause { sleep: None, next: limits::ACCEPT_PAUSE }
    }
}

impl Pause {
    fn is_on(&self) -> bool {
        self.sleep.is_some()
    }

    fn begin(&mut self, error: &io::Error, listener: &Listener) {
        if self.next == limits::ACCEPT_PAUSE {
            log_limited!(warn, name = %listener.name(), "clients cannot be accepted, and are asked to wait: {error}");
        }
        self.sleep = Some(Box::pin(sleep(self.next)));
        self.next = (self.next * 2).min(limits::ACCEPT_PAUSE_MOST);
    }

    fn end(&mut self) {
        self.sleep = None;
    }

    /// Ready when it is over; never if there is none.
    async fn over(&mut self) {
        match &mut self.sleep {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
        self.sleep = None;
    }
}
