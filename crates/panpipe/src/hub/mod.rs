//! Who is connected to a server: the live view of it, and calls to all of them.

mod broadcast;
mod client;
mod membership;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::broadcast::{Delivery, Slow};
pub use self::client::{ClientId, ConnectedClient};
pub(crate) use self::membership::{Membership, Reception};

/// The clients that are connected to a server, as of now.
///
/// Clones are the same hub. A service that is to call its clients, or to send one
/// away, holds one, and so does the server:
///
/// ```
/// use panpipe::{Hub, Server, Slow};
///
/// #[panpipe::service]
/// pub trait Listener {
///     /// Hears what was said.
///     #[oneway]
///     async fn heard(&self, line: String);
/// }
///
/// #[panpipe::service]
/// pub trait Chat {
///     /// Says something to everybody else; gives how many there are.
///     async fn say(&self, line: String) -> usize;
/// }
///
/// struct Room { hub: Hub }
///
/// impl Chat for Room {
///     async fn say(&self, line: String) -> usize {
///         let own = panpipe::call::client();
///         self.hub
///             .broadcast_to(
///                 move |client| Some(client.id()) != own,
///                 Slow::Skip,
///                 move |listener: ListenerClient| listener.heard(line.clone()),
///             )
///             .await
///             .sent
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.hub.{}", std::process::id());
/// let hub = Hub::new();
/// let server = Server::bind(&name)
///     .service(Room { hub: hub.clone() }.serve())
///     .hub(&hub)
///     .on_connect(|client| println!("{} has come", client.peer()))
///     .on_disconnect(|client, why| println!("{} has gone: {why}", client.peer()))
///     .start()?;
/// # struct Silent;
/// # impl Listener for Silent { async fn heard(&self, _: String) {} }
///
/// let one = ChatClient::connect(&name).offer(Silent.serve()).await?;
/// let other = ChatClient::connect(&name).offer(Silent.serve()).await?;
/// assert_eq!(one.say("anybody there?".to_owned()).await?, 0); // the other has said nothing yet
/// assert_eq!(other.say("yes".to_owned()).await?, 1);
/// assert_eq!(hub.len(), 2);
/// # server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// A client is there from its hello on, which it says with its first call or after a
/// second.
#[derive(Clone, Default)]
pub struct Hub {
    clients: Arc<Mutex<BTreeMap<ClientId, ConnectedClient>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("clients", &self.len()).finish()
    }
}

impl Hub {
    /// A hub without clients, to be given to a server.
    #[must_use]
    pub fn new() -> Self {
        Hub::default()
    }

    /// Everybody who is connected, in the order in which they have come.
    #[must_use]
    pub fn clients(&self) -> Vec<ConnectedClient> {
        self.lock().values().cloned().collect()
    }

    /// One of them; `None` if it has gone.
    #[must_use]
    pub fn client(&self, id: ClientId) -> Option<ConnectedClient> {
        self.lock().get(&id).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn enter(&self, client: ConnectedClient) {
        self.lock().insert(client.id(), client);
    }

    fn leave(&self, id: ClientId) {
        let gone = self.lock().remove(&id);
        // Dropped outside the lock: the last holder of stubs runs the user's code.
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClientId, ConnectedClient>> {
        // No code of the user's runs under the lock.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
