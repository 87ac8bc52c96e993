//! A service whose values are watched, from either end.

use panpipe::{WatchReceiver, WatchSender};

/// Watched values as results, as arguments, and passed on.
#[panpipe::service]
pub trait Gauge {
    /// The server's own level.
    async fn level(&self) -> WatchReceiver<u64>;
    /// Sets the server's own level.
    async fn set(&self, level: u64);
    /// What sets the server's own level.
    async fn setter(&self) -> WatchSender<u64>;
    /// Waits until the caller's level is this high, and gives the level.
    async fn await_level(&self, watched: WatchReceiver<u64>, at_least: u64) -> Result<u64, String>;
    /// Sets the caller's level to each number from 1 on up to this one.
    async fn raise(&self, level: WatchSender<u64>, to: u64);
    /// The level of another gauge, passed on.
    async fn level_of(&self, other: GaugeClient) -> Result<WatchReceiver<u64>, String>;
    /// Keeps the caller's sender until nobody watches what it sets.
    async fn until_unwatched(&self, level: WatchSender<u64>);
}

/// The implementation.
#[derive(Debug)]
pub struct GaugeImpl {
    level: WatchSender<u64>,
}

impl Default for GaugeImpl {
    fn default() -> Self {
        GaugeImpl { level: panpipe::watch(0).0 }
    }
}

impl Gauge for GaugeImpl {
    async fn level(&self) -> WatchReceiver<u64> {
        self.level.subscribe()
    }

    async fn set(&self, level: u64) {
        self.level.set(level);
    }

    async fn setter(&self) -> WatchSender<u64> {
        self.level.clone()
    }

    async fn await_level(&self, watched: WatchReceiver<u64>, at_least: u64) -> Result<u64, String> {
        reached(watched, at_least).await
    }

    async fn raise(&self, level: WatchSender<u64>, to: u64) {
        (1..=to).for_each(|value| level.set(value));
    }

    async fn level_of(&self, other: GaugeClient) -> Result<WatchReceiver<u64>, String> {
        other.level().await.map_err(|error| error.to_string())
    }

    async fn until_unwatched(&self, level: WatchSender<u64>) {
        level.closed().await;
    }
}

/// Waits until a level is this high, and gives it.
pub async fn reached(mut watched: WatchReceiver<u64>, at_least: u64) -> Result<u64, String> {
    loop {
        let level = *watched.borrow();
        if level >= at_least {
            return Ok(level);
        }
        watched.changed().await.map_err(|error| error.to_string())?;
    }
}
