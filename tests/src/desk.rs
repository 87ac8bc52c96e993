//! A service that tells which metadata its calls carry.

use std::sync::Mutex;

use futures::stream;
use panpipe::{Metadata, Streaming, call};
use serde::{Deserialize, Serialize};

/// Who a call is made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// A number.
    pub id: u64,
}

impl Metadata for Tenant {
    const NAME: &'static str = "test.tenant";
}

/// The language of a call's answer, and any other text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locale(pub String);

impl Metadata for Locale {
    const NAME: &'static str = "test.locale";
}

/// The program at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
}

impl Program {
    /// A program of this name.
    pub fn new(name: &str) -> Self {
        Program { name: name.to_owned() }
    }
}

impl Metadata for Program {
    const NAME: &'static str = "test.program";
}

/// What a handler finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// With the call.
    pub tenant: Option<u64>,
    /// The length of the text that came with the call.
    pub locale: Option<usize>,
    /// With the connection.
    pub program: Option<String>,
}

impl Seen {
    /// A tenant and nothing else.
    pub fn tenant(id: u64) -> Self {
        Seen { tenant: Some(id), ..Seen::default() }
    }
}

/// How a handler makes its own call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// By the client as it is.
    Plain,
    /// By one that inherits.
    Inheriting,
    /// By one that inherits, and has a tenant of its own.
    Own(u64),
}

impl How {
    fn of(self, desk: &DeskClient) -> DeskClient {
        match self {
            How::Plain => desk.clone(),
            How::Inheriting => desk.with_inherited_metadata(),
            How::Own(id) => desk.with_inherited_metadata().with_metadata(&Tenant { id }),
        }
    }
}

/// Tells of metadata.
#[panpipe::service]
pub trait Desk {
    /// What came with this very call.
    async fn seen(&self) -> Seen;
    /// The same of a call that the server of that name is asked for in turn.
    async fn through(&self, name: String, how: How) -> Result<Seen, String>;
    /// The same of a call that goes back to the caller's own service.
    async fn back(&self, desk: DeskClient, how: How) -> Result<Seen, String>;
    /// The same, sent as items.
    async fn items(&self, count: usize) -> Streaming<Seen>;
    /// A client of this very service.
    async fn pass(&self) -> DeskClient;
    /// A client of the server of that name.
    async fn relay(&self, name: String) -> Result<DeskClient, String>;
    /// Remembers what came with it.
    #[oneway]
    async fn note(&self);
    /// What was remembered last.
    async fn noted(&self) -> Option<Seen>;
}

/// The implementation.
#[derive(Debug, Default)]
pub struct Clerk {
    noted: Mutex<Option<Seen>>,
}

/// What came with the call that is being answered.
pub fn seen() -> Seen {
    let read = "the value is of its type";
    Seen {
        tenant: call::metadata::<Tenant>().expect(read).map(|tenant| tenant.id),
        locale: call::metadata::<Locale>().expect(read).map(|locale| locale.0.len()),
        program: call::connection_metadata::<Program>().expect(read).map(|program| program.name),
    }
}

impl Desk for Clerk {
    async fn seen(&self) -> Seen {
        // Behind a point of waiting too.
        tokio::task::yield_now().await;
        seen()
    }

    async fn through(&self, name: String, how: How) -> Result<Seen, String> {
        let desk = DeskClient::connect(name).await.map_err(|error| error.to_string())?;
        how.of(&desk).seen().await.map_err(|error| error.to_string())
    }

    async fn back(&self, desk: DeskClient, how: How) -> Result<Seen, String> {
        how.of(&desk).seen().await.map_err(|error| error.to_string())
    }

    async fn items(&self, count: usize) -> Streaming<Seen> {
        Streaming::new(stream::iter(vec![seen(); count]))
    }

    async fn pass(&self) -> DeskClient {
        DeskClient::offer(Clerk::default().serve())
    }

    async fn relay(&self, name: String) -> Result<DeskClient, String> {
        DeskClient::connect(name).await.map_err(|error| error.to_string())
    }

    async fn note(&self) {
        *self.noted.lock().expect("nobody panics while holding it") = Some(seen());
    }

    async fn noted(&self) -> Option<Seen> {
        self.noted.lock().expect("nobody panics while holding it").clone()
    }
}
