//! A service whose server calls its clients: all of them, some, or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use panpipe::{ConnectedClient, Hub};

/// What a client offers to the hall that it is in.
#[panpipe::service]
pub trait Audience {
    /// Hears something.
    #[oneway]
    async fn hear(&self, x: u64, more: Vec<u8>);
}

/// What a client may offer beside it.
#[panpipe::service]
pub trait Press {
    /// Writes something down.
    #[oneway]
    async fn write(&self, x: u64);
}

/// What is called in the hall.
#[panpipe::service]
pub trait Hall {
    /// How many are in.
    async fn guests(&self) -> usize;
    /// The number that the hall knows the caller by.
    async fn who_am_i(&self) -> Option<String>;
    /// Never ends by itself.
    async fn stay(&self);
}

/// The implementation.
#[derive(Debug, Clone, Default)]
pub struct HallImpl {
    /// Who is in.
    pub hub: Hub,
    /// How many calls of `stay` there have been.
    pub staying: Arc<AtomicUsize>,
}

impl Hall for HallImpl {
    async fn guests(&self) -> usize {
        self.hub.len()
    }

    async fn who_am_i(&self) -> Option<String> {
        let own = self.hub.client(panpipe::call::client()?)?;
        Some(own.id().to_string())
    }

    async fn stay(&self) {
        self.staying.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// Prints what it hears.
#[derive(Debug)]
pub struct Loud;

impl Audience for Loud {
    async fn hear(&self, x: u64, more: Vec<u8>) {
        println!("heard {x} and {}", more.len());
    }
}

impl Press for Loud {
    async fn write(&self, x: u64) {
        println!("wrote {x}");
    }
}

/// The client of a process.
#[must_use]
pub fn of_process(hub: &Hub, pid: u32) -> Option<ConnectedClient> {
    hub.clients().into_iter().find(|client| client.peer().pid == Some(pid))
}
