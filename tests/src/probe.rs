//! The service that the tests call, and its implementation.

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A service with one of everything.
#[panpipe::service]
pub trait Probe {
    /// Gives its argument back.
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
    /// The same as another type, and not all of it.
    async fn first(&self, bytes: Bytes, count: usize) -> Option<Bytes>;
    /// The sum.
    async fn add(&self, a: u64, b: u64) -> u64;
    /// The sum, when another thread has run.
    async fn add_later(&self, a: u64, b: u64) -> u64;
    /// Fails with an error of its own, unless `why` is empty.
    async fn fail(&self, why: String) -> Result<u64, ProbeError>;
    /// The same behind an alias.
    async fn fail_bytes(&self, why: String) -> alias::Result<Vec<u8>>;
    /// Never ends by itself.
    async fn hang(&self);
    /// Waits, then gives the milliseconds back.
    async fn wait(&self, millis: u64) -> u64;
    /// Panics, at once or after it has waited for something.
    async fn panic(&self, late: bool);
    /// A result of so many bytes.
    async fn large(&self, size: usize) -> Vec<u8>;
    /// What the handler knows of its call.
    async fn about_me(&self) -> About;
    /// What has happened so far.
    async fn counts(&self) -> Counts;
    /// Remembers a number.
    #[oneway]
    async fn note(&self, x: u64);
    /// The numbers remembered, in order.
    async fn notes(&self) -> Vec<u64>;
    /// Calls [`about_me`](Self::about_me) of another server.
    async fn relay(&self, name: String) -> Option<About>;
    /// Hangs; its caller gives up soon.
    #[timeout("50ms")]
    async fn impatient(&self);
    /// Takes something nested and says how deep it is.
    async fn depth(&self, tree: Nested) -> usize;
    /// Takes or gives a value whose own code misbehaves.
    async fn odd(&self, value: Odd) -> Odd;
    /// A method named like a keyword, with an argument that is one.
    async fn r#type(&self, r#match: u8) -> u8;
    /// Has a body in the trait.
    async fn defaulted(&self, x: u32) -> u32 {
        x + 1
    }
    /// Only in a configuration that there is not.
    #[cfg(any())]
    async fn absent(&self) -> Missing;
}

/// An error of the service's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it failed: {why}")]
pub struct ProbeError {
    /// Why it failed.
    pub why: String,
}

/// A `Result` of which the attribute sees one half.
pub mod alias {
    /// A result with the service's error.
    pub type Result<T> = std::result::Result<T, super::ProbeError>;
}

/// What a handler knows of its call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The caller's process id.
    pub pid: Option<u32>,
    /// The caller's user id.
    pub uid: Option<u32>,
    /// The method's name.
    pub method: Option<String>,
    /// The milliseconds left until the deadline.
    pub left: Option<u64>,
}

/// What has happened in a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Handlers that are pending now.
    pub running: u64,
    /// The most that ever were.
    pub most: u64,
    /// Handlers that ever began to hang.
    pub started: u64,
}

/// A value inside a value inside a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nested {
    /// The innermost one.
    Leaf,
    /// One around another.
    Around(Box<Nested>),
}

impl Nested {
    /// One that is so deep.
    pub fn deep(depth: usize) -> Nested {
        (0..depth).fold(Nested::Leaf, |inner, _| Nested::Around(Box::new(inner)))
    }
}

/// A value whose own code fails or panics where it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// All is well.
    Fine,
    /// Encoding fails.
    FailsToEncode,
    /// Encoding panics.
    PanicsInEncode,
    /// Decoding fails.
    FailsToDecode,
    /// Decoding panics.
    PanicsInDecode,
    /// Is changed by the service to one that fails to encode.
    ReplyFailsToEncode,
    /// Is changed by the service to one that panics when encoded.
    ReplyPanicsInEncode,
}

impl Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Odd::FailsToEncode => Err(serde::ser::Error::custom("I will not be encoded")),
            Odd::PanicsInEncode => panic!("I panic when I am encoded"),
            other => serializer.serialize_u8(*other as u8),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Odd::Fine),
            3 => Err(serde::de::Error::custom("I will not be decoded")),
            4 => panic!("I panic when I am decoded"),
            5 => Ok(Odd::ReplyFailsToEncode),
            6 => Ok(Odd::ReplyPanicsInEncode),
            _ => Err(serde::de::Error::custom("no such value")),
        }
    }
}

/// The implementation.
#[derive(Debug, Default)]
pub struct Prober {
    running: AtomicU64,
    most: AtomicU64,
    started: AtomicU64,
    notes: Mutex<Vec<u64>>,
}

/// Counts a handler as running while it lives.
struct Running<'a>(&'a Prober);

impl Prober {
    fn enter(&self) -> Running<'_> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.started.fetch_add(1, Ordering::SeqCst);
        Running(self)
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.notes.lock().expect("nobody panics while holding the notes")
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the current handler knows of its call.
fn about() -> About {
    let peer = panpipe::call::peer();
    About {
        pid: peer.pid,
        uid: peer.uid,
        method: panpipe::call::method().map(str::to_owned),
        left: panpipe::call::deadline()
            .map(|at| at.saturating_duration_since(Instant::now()).as_millis() as u64),
    }
}

impl Probe for Prober {
    async fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    async fn first(&self, bytes: Bytes, count: usize) -> Option<Bytes> {
        (count <= bytes.len()).then(|| bytes.slice(..count))
    }

    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn add_later(&self, a: u64, b: u64) -> u64 {
        crate::bare::another_thread().await;
        a.wrapping_add(b)
    }

    async fn fail(&self, why: String) -> Result<u64, ProbeError> {
        if why.is_empty() { Ok(0) } else { Err(ProbeError { why }) }
    }

    async fn fail_bytes(&self, why: String) -> alias::Result<Vec<u8>> {
        if why.is_empty() { Ok(vec![1, 2, 3]) } else { Err(ProbeError { why }) }
    }

    async fn hang(&self) {
        let _running = self.enter();
        pending().await
    }

    async fn wait(&self, millis: u64) -> u64 {
        let _running = self.enter();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        millis
    }

    async fn panic(&self, late: bool) {
        if late {
            tokio::task::yield_now().await;
        }
        panic!("as it was asked to");
    }

    async fn large(&self, size: usize) -> Vec<u8> {
        vec![7; size]
    }

    async fn about_me(&self) -> About {
        about()
    }

    async fn counts(&self) -> Counts {
        Counts {
            running: self.running.load(Ordering::SeqCst),
            most: self.most.load(Ordering::SeqCst),
            started: self.started.load(Ordering::SeqCst),
        }
    }

    async fn note(&self, x: u64) {
        self.noted().push(x);
    }

    async fn notes(&self) -> Vec<u64> {
        self.noted().clone()
    }

    async fn relay(&self, name: String) -> Option<About> {
        let other = ProbeClient::connect(name).await.ok()?;
        other.about_me().await.ok()
    }

    async fn impatient(&self) {
        let _running = self.enter();
        pending().await
    }

    async fn depth(&self, tree: Nested) -> usize {
        let (mut depth, mut inner) = (0, &tree);
        while let Nested::Around(next) = inner {
            (depth, inner) = (depth + 1, next);
        }
        depth
    }

    async fn odd(&self, value: Odd) -> Odd {
        match value {
            Odd::ReplyFailsToEncode => Odd::FailsToEncode,
            Odd::ReplyPanicsInEncode => Odd::PanicsInEncode,
            other => other,
        }
    }

    async fn r#type(&self, r#match: u8) -> u8 {
        r#match
    }
}
