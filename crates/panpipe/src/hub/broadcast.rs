//! One-way calls to many clients at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{ConnectedClient, Hub};
use crate::client::{BroadcastCall, ServiceClient};
use crate::error::CallError;
use crate::limits;

/// What is done with a client that does not keep up: so much waits to be sent to it
/// already as [`Limits::queued_bytes`](crate::Limits::queued_bytes) allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slow {
    /// It misses this call.
    Skip,
    /// It is waited for so long, and misses the call after that. Others do not wait.
    Wait(Duration),
    /// It is sent away.
    Disconnect,
}

/// What became of a broadcast.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// To how many clients the call is on its way.
    pub sent: usize,
    /// Who missed it, being slow.
    pub skipped: Vec<ConnectedClient>,
    /// Who was sent away, being slow.
    pub disconnected: Vec<ConnectedClient>,
    /// Whom it could not be sent to, and why: mostly since they offer no such
    /// service, or have just gone.
    pub failed: Vec<(ConnectedClient, CallError)>,
}

impl Hub {
    /// Makes a one-way call of every client that offers the service `C`, as
    /// [`Connect::offer`](crate::Connect::offer) does.
    ///
    /// `call` returns the call of a `#[oneway]` method: a call that is answered does not
    /// compile, since a slow handler would count as a slow connection.
    ///
    /// ```
    /// # use panpipe::{Hub, Slow};
    /// #[panpipe::service]
    /// pub trait Audience {
    ///     #[oneway]
    ///     async fn hear(&self, x: u8);
    /// }
    ///
    /// async fn tell(hub: &Hub) {
    ///     hub.broadcast(Slow::Skip, |client: AudienceClient| client.hear(1)).await;
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// # use panpipe::{Hub, Slow};
    /// #[panpipe::service]
    /// pub trait Audience {
    ///     async fn hear(&self, x: u8);
    /// }
    ///
    /// async fn tell(hub: &Hub) {
    ///     hub.broadcast(Slow::Skip, |client: AudienceClient| client.hear(1)).await;
    /// }
    /// ```
    ///
    /// Ready when the call is on its way to all, or given up. Dropping the future
    /// gives up those that are waited for.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn broadcast<C, F>(&self, slow: Slow, call: impl Fn(C) -> F + Send + Sync + 'static) -> Delivery
    where
        C: ServiceClient,
        F: BroadcastCall,
    {
        self.broadcast_to(|_| true, slow, call).await
    }

    /// The same of those clients that `only` says yes to.
    pub async fn broadcast_to<C, F>(
        &self,
        only: impl Fn(&ConnectedClient) -> bool,
        slow: Slow,
        call: impl Fn(C) -> F + Send + Sync + 'static,
    ) -> Delivery
    where
        C: ServiceClient,
        F: BroadcastCall,
    {
        let call = Arc::new(call);
        let mut delivery = Delivery::default();
        // Those that are not done at once, each in a task: none waits for another.
        let mut waiting = JoinSet::new();
        for client in self.clients().into_iter().filter(only) {
            match client.known_stub::<C>().map(|stub| begin(call(stub), slow)) {
                Some(Begun::Ended(fate)) => delivery.count(client, fate),
                Some(Begun::Waits(rest)) => {
                    waiting.spawn(async move { (client, rest.await) });
                }
                None => {
                    let call = Arc::clone(&call);
                    waiting.spawn(async move {
                        let fate = open_and_call(&client, slow, &*call).await;
                        (client, fate)
                    });
                }
            }
        }
        while let Some(ended) = waiting.join_next().await {
            // A call that panics, in the user's `Serialize`, reaches nobody.
            if let Ok((client, fate)) = ended {
                delivery.count(client, fate);
            }
        }
        delivery
    }
}

enum Fate {
    Sent,
    Skipped,
    TooSlow,
    Failed(CallError),
}

type Rest = Pin<Box<dyn Future<Output = Fate> + Send>>;

enum Begun {
    Ended(Fate),
    Waits(Rest),
}

/// Makes the call, if it can go at once; decides what is done if it cannot.
fn begin(call: impl Future<Output = Result<(), CallError>> + Send + 'static, slow: Slow) -> Begun {
    let mut call = Box::pin(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Begun::Ended(fate(result)),
        Poll::Pending => {
            match slow {
                Slow::Skip => Begun::Ended(Fate::Skipped),
                Slow::Disconnect => Begun::Ended(Fate::TooSlow),
                Slow::Wait(patience) => Begun::Waits(Box::pin(async move {
                    timeout(patience, call).await.map_or(Fate::Skipped, fate)
                })),
            }
        }
    }
}

async fn open_and_call<C, F>(client: &ConnectedClient, slow: Slow, call: &(impl Fn(C) -> F + Sync)) -> Fate
where
    C: ServiceClient,
    F: BroadcastCall,
{
    let patience = match slow {
        Slow::Wait(patience) => patience,
        Slow::Skip | Slow::Disconnect => limits::BROADCAST_OPEN,
    };
    let begun = match timeout(patience, client.stub::<C>()).await {
        Ok(Ok(stub)) => begin(call(stub), slow),
        Ok(Err(error)) => return Fate::Failed(error),
        Err(_) if slow == Slow::Disconnect => return Fate::TooSlow,
        Err(_) => return Fate::Skipped,
    };
    match begun {
        Begun::Ended(fate) => fate,
        Begun::Waits(rest) => rest.await,
    }
}

fn fate(result: Result<(), CallError>) -> Fate {
    result.map_or_else(Fate::Failed, |()| Fate::Sent)
}

impl Delivery {
    fn count(&mut self, client: ConnectedClient, fate: Fate) {
        match fate {
            Fate::Sent => self.sent += 1,
            Fate::Skipped => self.skipped.push(client),
            Fate::TooSlow => {
                client.close("it did not read what the server had to say to it");
                self.disconnected.push(client);
            }
            Fate::Failed(error) => self.failed.push((client, error)),
        }
    }
}
