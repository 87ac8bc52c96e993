//! A service that writes down every call that it runs, in a file that outlives its
//! process: so that somebody can count, however the process ended.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::Write;
use std::path::Path;

use futures::StreamExt;
use panpipe::Streaming;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::studio::ListenerClient;

/// Calls that are counted by their numbers.
#[panpipe::service]
pub trait Ledger {
    /// Writes a number down; twice is as good as once.
    #[idempotent]
    async fn note(&self, number: u64) -> u64;
    /// Writes a number down, once.
    async fn book(&self, number: u64) -> u64;
    /// The same with more bytes.
    async fn book_bytes(&self, number: u64, bytes: Vec<u8>) -> u64;
    /// Writes a number down, and never answers.
    async fn book_and_hang(&self, number: u64);
    /// Writes a number down. Where it was not there before it does not answer, else
    /// it gives its process id.
    #[idempotent]
    async fn note_until_it_is_there(&self, number: u64) -> u32;
    /// The same, with a stream that is read to its end.
    #[idempotent]
    async fn read(&self, number: u64, items: Streaming<u64>) -> u32;
    /// The same, and calls back with the number.
    #[idempotent]
    async fn call_back(&self, number: u64, listener: ListenerClient) -> Result<u64, String>;
    /// The same, with something that can be encoded once.
    #[idempotent]
    async fn take(&self, number: u64, once: Once) -> u32;
    /// Writes a number down, and does not answer.
    #[oneway]
    async fn tell(&self, number: u64);
    /// Waits, then gives the process id.
    async fn pid_after(&self, millis: u64) -> u32;
    /// A result of so many bytes.
    async fn large(&self, size: usize) -> Vec<u8>;
}

/// Can be encoded once.
#[derive(Debug, Default)]
pub struct Once(Cell<bool>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Once::default())
    }
}

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.replace(true) {
            return Err(serde::ser::Error::custom("I was encoded before"));
        }
        serializer.serialize_unit()
    }
}

/// The implementation.
#[derive(Debug)]
pub struct Book {
    file: File,
    path: std::path::PathBuf,
}

impl Book {
    /// One that writes to this file, as others may.
    pub fn at(path: impl AsRef<Path>) -> Book {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Book { file: file.expect("the ledger's file can be opened"), path }
    }

    fn write(&self, number: u64) {
        // One write, so that a kill leaves all of it or nothing.
        let written = (&self.file).write(&number.to_le_bytes()).expect("the ledger can be written");
        assert_eq!(written, 8);
    }

    /// Writes the number down; whether it was there before.
    fn write_again(&self, number: u64) -> bool {
        let before = counted(&self.path).contains_key(&number);
        self.write(number);
        before
    }
}

/// How often each number stands in a ledger.
pub fn counted(path: impl AsRef<Path>) -> BTreeMap<u64, u32> {
    let mut counts = BTreeMap::new();
    let bytes = std::fs::read(path).expect("the ledger can be read");
    for number in bytes.chunks(8) {
        *counts.entry(u64::from_le_bytes(number.try_into().expect("a number has 8 bytes"))).or_default() += 1;
    }
    counts
}

impl Ledger for Book {
    async fn note(&self, number: u64) -> u64 {
        self.write(number);
        number
    }

    async fn book(&self, number: u64) -> u64 {
        self.write(number);
        number
    }

    async fn book_bytes(&self, number: u64, _: Vec<u8>) -> u64 {
        self.write(number);
        number
    }

    async fn book_and_hang(&self, number: u64) {
        self.write(number);
        pending().await
    }

    async fn note_until_it_is_there(&self, number: u64) -> u32 {
        if !self.write_again(number) {
            pending::<()>().await;
        }
        std::process::id()
    }

    async fn read(&self, number: u64, items: Streaming<u64>) -> u32 {
        items.count().await;
        self.note_until_it_is_there(number).await
    }

    async fn call_back(&self, number: u64, listener: ListenerClient) -> Result<u64, String> {
        let answer = listener.hear(number).await.map_err(|error| error.to_string())?;
        self.note_until_it_is_there(number).await;
        Ok(answer)
    }

    async fn take(&self, number: u64, _: Once) -> u32 {
        self.note_until_it_is_there(number).await
    }

    async fn tell(&self, number: u64) {
        self.write(number);
    }

    async fn pid_after(&self, millis: u64) -> u32 {
        tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        std::process::id()
    }

    async fn large(&self, size: usize) -> Vec<u8> {
        vec![7; size]
    }
}
