//! A store in one process, three clients in three others, all over one named
//! pipe; and a child that is called over anonymous pipes of its own.
//!
//! `cargo run --example quickstart` starts them all.

use std::env;
use std::error::Error;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use panpipe::{CallError, NoService, Server};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// Values under keys.
#[panpipe::service]
pub trait Store {
    /// Keeps a value; gives how many there are now.
    async fn put(&self, key: String, value: Vec<u8>) -> usize;
    /// The value of a key.
    async fn get(&self, key: String) -> Result<Vec<u8>, StoreError>;
}

/// What can go wrong in a store.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub enum StoreError {
    /// There is no such key.
    #[error("there is no {0:?}")]
    Missing(String),
}

/// Says things louder.
#[panpipe::service]
pub trait Shout {
    /// The same, louder.
    async fn shout(&self, text: String) -> String;
}

#[derive(Default)]
struct Db {
    rows: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Store for Db {
    async fn put(&self, key: String, value: Vec<u8>) -> usize {
        println!("server: {} puts {key:?}, {} bytes", panpipe::call::peer(), value.len());
        let mut rows = self.rows.lock().expect("no handler panics while it holds the rows");
        rows.push((key, value));
        rows.len()
    }

    async fn get(&self, key: String) -> Result<Vec<u8>, StoreError> {
        let rows = self.rows.lock().expect("no handler panics while it holds the rows");
        let row = rows.iter().find(|(name, _)| *name == key);
        row.map(|(_, value)| value.clone()).ok_or(StoreError::Missing(key))
    }
}

struct Loud;

impl Shout for Loud {
    async fn shout(&self, text: String) -> String {
        text.to_uppercase()
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["server", name] => server(name).await,
        ["client", name, number] => client(name, number).await,
        ["child"] => Ok(panpipe::serve_parent(|_: NoService| Loud.serve()).await?),
        _ => everything().await,
    }
}

async fn server(name: &str) -> Outcome {
    let told_to_end = async {
        // Ends with the process that started it.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    Ok(Server::bind(name).service(Db::default().serve()).until(told_to_end).serve().await?)
}

async fn client(name: &str, number: &str) -> Outcome {
    let store = StoreClient::connect(name).wait(Duration::from_secs(10)).await?;
    let key = format!("key {number}");
    let count = store.put(key.clone(), vec![7; 1000]).await?;
    let value = store.get(key).await?;
    println!("client {number}: put the store's value number {count}, got {} bytes back", value.len());
    match store.get("nothing".into()).await {
        Err(CallError::App(error)) => println!("client {number}: a typed error: {error}"),
        other => println!("client {number}: unexpected: {other:?}"),
    }
    Ok(())
}

async fn everything() -> Outcome {
    let this = env::current_exe()?;
    let name = format!("quickstart.{}", std::process::id());

    let mut server = Command::new(&this).args(["server", &name]).stdin(Stdio::piped()).spawn()?;
    let clients: Vec<_> = ["1", "2", "3"]
        .into_iter()
        .map(|number| Command::new(&this).args(["client", &name, number]).spawn())
        .collect::<Result<_, _>>()?;
    for mut client in clients {
        let status = client.wait().await?;
        assert!(status.success(), "a client failed: {status}");
    }
    drop(server.stdin.take());
    println!("server: {}", server.wait().await?);

    let mut command = std::process::Command::new(&this);
    command.arg("child");
    let child = panpipe::spawn(command).start::<ShoutClient>()?;
    let text = child.client().shout("over two anonymous pipes".into()).await?;
    println!("child {}: {text}", child.id().unwrap_or_default());
    println!("child: {}", child.shutdown(Duration::from_secs(2)).await?);
    Ok(())
}
