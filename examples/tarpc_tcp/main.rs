//! A panpipe service off the machine: the same trait, the same implementation
//! and the same client, on tarpc's own TCP transport between two processes.
//!
//! `cargo run --example tarpc_tcp`

use std::env;
use std::error::Error;
use std::process::Stdio;

use futures::StreamExt;
use panpipe::tarpc::{Reply, Request};
use panpipe::{CallError, ServiceClient};
use serde::{Deserialize, Serialize};
use tarpc::client::Config;
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Looks up how high mountains are.
#[panpipe::service]
pub trait Mountains {
    /// A mountain's height in metres.
    async fn height(&self, name: String) -> Result<u32, Unknown>;
}

/// A mountain that nobody has heard of.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("no mountain is called {0}")]
pub struct Unknown(String);

struct Alps;

impl Mountains for Alps {
    async fn height(&self, name: String) -> Result<u32, Unknown> {
        match name.as_str() {
            "Mont Blanc" => Ok(4806),
            "Eiger" => Ok(3967),
            _ => Err(Unknown(name)),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("serve") { serve().await } else { call().await }
}

/// tarpc's server, with a panpipe service in it.
async fn serve() -> Result<(), Box<dyn Error>> {
    let mut listener = tcp::listen("localhost:0", Json::<_, tarpc::Response<_>>::default).await?;
    println!("{}", listener.local_addr());
    let Some(transport) = listener.next().await else { return Ok(()) };
    BaseChannel::with_defaults(transport?)
        .execute(Alps.serve())
        .for_each(|handler| async {
            tokio::spawn(handler);
        })
        .await;
    Ok(())
}

/// tarpc's client, with a panpipe client in front.
async fn call() -> Result<(), Box<dyn Error>> {
    let mut server = Command::new(env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("the server's output is not piped")?)
        .read_line(&mut address)
        .await?;

    let transport = tcp::connect(address.trim(), Json::default).await?;
    let stub = tarpc::client::new::<
        Request<<MountainsClient as ServiceClient>::Req>,
        Reply<<MountainsClient as ServiceClient>::Resp>,
        _,
    >(Config::default(), transport)
    .spawn();
    let (mountains, calls) = panpipe::tarpc::client::<MountainsClient, _>(stub);
    let calls = tokio::spawn(calls);

    println!("over TCP, {}: the Eiger is {} m high", address.trim(), mountains.height("Eiger".into()).await?);
    match mountains.height("Olympus".into()).await {
        Err(CallError::App(error)) => println!("over TCP, a typed error: {error}"),
        other => println!("unexpected: {other:?}"),
    }
    drop(mountains);
    calls.await?;
    println!("the server: {}", server.wait().await?);
    Ok(())
}
