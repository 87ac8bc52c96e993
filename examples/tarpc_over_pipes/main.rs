//! An unchanged tarpc service with tarpc's own client and server, over pipes
//! instead of TCP: first a named pipe, then two anonymous ones.
//!
//! `cargo run --example tarpc_over_pipes`

use std::env;
use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use panpipe_transport::codec::Bincode;
use panpipe_transport::{Listener, PipeStream, Transport, anonymous, connect};
use tarpc::server::{BaseChannel, Channel};
use tarpc::{client, context};
use tokio::process::Command;

/// Says hello, in tarpc's own words.
#[tarpc::service]
pub trait World {
    /// Greets.
    async fn hello(name: String) -> String;
}

#[derive(Clone)]
struct Greeter;

impl World for Greeter {
    async fn hello(self, _: context::Context, name: String) -> String {
        format!("Hello, {name}, from process {}!", std::process::id())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => {
            // One client is enough here; a server would accept in a loop.
            answer(Listener::bind(name)?.accept().await?).await;
        }
        ["serve-handles", handles] => answer(PipeStream::from_handles(handles)?).await,
        _ => {
            named().await?;
            anonymous().await?;
        }
    }
    Ok(())
}

/// tarpc's server over one pipe.
async fn answer(stream: PipeStream) {
    BaseChannel::with_defaults(Transport::new(stream, Bincode))
        .execute(Greeter.serve())
        .for_each(|handler| async {
            tokio::spawn(handler);
        })
        .await;
}

/// tarpc's client over one pipe.
async fn ask(stream: PipeStream, name: &str) -> Result<String, client::RpcError> {
    let transport = Transport::new(stream, Bincode);
    let world = WorldClient::new(client::Config::default(), transport).spawn();
    world.hello(context::current(), name.to_owned()).await
}

async fn named() -> Result<(), Box<dyn Error>> {
    let name = format!("tarpc_over_pipes.{}", std::process::id());
    let mut server = Command::new(env::current_exe()?).args(["serve", &name]).spawn()?;
    let stream = connect(&name).wait(Duration::from_secs(10)).await?;
    println!("over a named pipe to {}: {}", stream.peer(), ask(stream, "Pan").await?);
    println!("its server: {}", server.wait().await?);
    Ok(())
}

async fn anonymous() -> Result<(), Box<dyn Error>> {
    let (stream, ends) = anonymous::for_child()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["serve-handles", &ends.handles()]).stdin(Stdio::null());
    let passed = ends.pass_to(command.as_std_mut())?;
    let mut child = command.spawn()?;
    drop(passed);
    println!("over anonymous pipes: {}", ask(stream, "Syrinx").await?);
    println!("the child: {}", child.wait().await?);
    Ok(())
}
