//! A board that tells its readers what is posted, for what clients and servers promise when
//! one of them ends.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, broadcast};

/// A board.
#[panpipe::service]
pub trait Board {
    /// Tells the reader each post from now on. Returns at once.
    async fn subscribe(&self, reader: ReaderClient);
    /// The same, and returns when the server ends.
    #[idempotent]
    async fn watch(&self, reader: ReaderClient);
    /// Posts a text. Gives how many readers were told it.
    async fn post(&self, text: String) -> usize;
    /// Never ends.
    async fn hang(&self);
    /// Returns when the server ends: whether it was ending before, and is now.
    async fn until_ending(&self) -> (bool, bool);
    /// How many calls of `hang`, `watch` and `until_ending` run.
    async fn running(&self) -> usize;
    /// Ends this server and no other of its process.
    async fn end(&self);
}

/// Reads a board.
#[panpipe::service]
pub trait Reader {
    /// Something was posted.
    async fn read(&self, text: String);
}

/// An implementation.
#[derive(Debug)]
pub struct Wood {
    readers: Mutex<Vec<ReaderClient>>,
    posts: broadcast::Sender<String>,
    running: Arc<()>,
    end: Arc<Notify>,
}

impl Wood {
    /// A board whose server is to end when the event is notified.
    #[must_use]
    pub fn new(end: Arc<Notify>) -> Wood {
        Wood { readers: Mutex::default(), posts: broadcast::Sender::new(64), running: Arc::new(()), end }
    }
}

impl Board for Wood {
    async fn subscribe(&self, reader: ReaderClient) {
        self.readers.lock().expect("no handler panics").push(reader);
    }

    async fn watch(&self, reader: ReaderClient) {
        let _running = Arc::clone(&self.running);
        let mut posts = self.posts.subscribe();
        loop {
            let text = tokio::select! {
                post = posts.recv() => post,
                () = panpipe::call::ending() => return,
            };
            let Ok(text) = text else { return };
            if reader.read(text).await.is_err() {
                return;
            }
        }
    }

    async fn post(&self, text: String) -> usize {
        let mut told = self.posts.send(text.clone()).unwrap_or(0);
        let readers = self.readers.lock().expect("no handler panics").clone();
        for reader in readers {
            told += usize::from(reader.read(text.clone()).await.is_ok());
        }
        told
    }

    async fn hang(&self) {
        let _running = Arc::clone(&self.running);
        std::future::pending().await
    }

    async fn until_ending(&self) -> (bool, bool) {
        let _running = Arc::clone(&self.running);
        let before = panpipe::call::is_ending();
        panpipe::call::ending().await;
        (before, panpipe::call::is_ending())
    }

    async fn running(&self) -> usize {
        Arc::strong_count(&self.running) - 1
    }

    async fn end(&self) {
        self.end.notify_one();
    }
}
