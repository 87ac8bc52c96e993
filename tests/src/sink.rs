//! A one-way service, whose calls are numbered by their writers.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

/// Takes what is written.
#[panpipe::service(name = "test.sink", version = 3)]
pub trait Sink {
    /// The writer's next.
    #[oneway]
    async fn line(&self, writer: u64, number: u64, text: Vec<u8>);
    /// Runs until it is let go.
    #[oneway]
    async fn hold(&self);
}

/// The same in another version.
pub mod older {
    /// Takes what is written.
    #[panpipe::service(name = "test.sink", version = 2)]
    pub trait Sink {
        /// The writer's next.
        #[oneway]
        async fn line(&self, writer: u64, number: u64, text: Vec<u8>);
    }
}

/// The implementation.
#[derive(Debug, Clone)]
pub struct Basin {
    lines: Arc<Mutex<Vec<(u64, u64)>>>,
    /// As many calls of `hold` end as there are permits.
    pub gate: Arc<Semaphore>,
    prints: bool,
}

impl Default for Basin {
    fn default() -> Self {
        Basin { lines: Arc::default(), gate: Arc::new(Semaphore::new(0)), prints: false }
    }
}

impl Basin {
    /// One that prints each line.
    pub fn printing() -> Self {
        Basin { prints: true, ..Basin::default() }
    }

    /// Each line's writer and number, in the order in which they came.
    pub fn lines(&self) -> Vec<(u64, u64)> {
        self.lines.lock().expect("nobody panics while holding the lines").clone()
    }

    /// How many have come.
    pub fn count(&self) -> usize {
        self.lines.lock().expect("nobody panics while holding the lines").len()
    }

    /// The numbers of one writer.
    pub fn of(&self, writer: u64) -> Vec<u64> {
        self.lines().into_iter().filter(|line| line.0 == writer).map(|line| line.1).collect()
    }
}

impl Sink for Basin {
    async fn line(&self, writer: u64, number: u64, _: Vec<u8>) {
        if self.prints {
            println!("{writer} {number}");
        }
        self.lines.lock().expect("nobody panics while holding the lines").push((writer, number));
    }

    async fn hold(&self) {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }
}

impl older::Sink for Basin {
    async fn line(&self, writer: u64, number: u64, text: Vec<u8>) {
        Sink::line(self, writer, number, text).await;
    }
}
