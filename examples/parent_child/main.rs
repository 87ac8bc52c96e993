//! A parent and its child, each calling the other over two anonymous pipes. The
//! child's standard output stays its own: what it prints disturbs nothing.
//!
//! `cargo run --example parent_child`

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

/// What the child does for its parent.
#[panpipe::service]
pub trait Worker {
    /// The square of a number.
    async fn square(&self, x: u64) -> u64;
}

/// What the parent does for its child.
#[panpipe::service]
pub trait Host {
    /// Takes note of how far the work has come.
    async fn progress(&self, text: String) -> u32;
}

struct Squares {
    host: HostClient,
}

impl Worker for Squares {
    async fn square(&self, x: u64) -> u64 {
        println!("child: this line goes to its own standard output");
        // The deadline of the call that is answered goes along with this one.
        let noted = self.host.progress(format!("multiplying {x} by itself")).await;
        println!("child: the parent has noted it: {noted:?}");
        x * x
    }
}

struct Notes;

impl Host for Notes {
    async fn progress(&self, text: String) -> u32 {
        println!("parent: {} says: {text}", panpipe::call::peer());
        1
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("child") {
        return Ok(panpipe::serve_parent(|host: HostClient| Squares { host }.serve()).await?);
    }
    let mut command = Command::new(env::current_exe()?);
    command.arg("child");
    let child = panpipe::spawn(command).offer(Notes.serve()).start::<WorkerClient>()?;
    for x in [7, 12] {
        let square = child.client().with_timeout(Duration::from_secs(5)).square(x).await?;
        println!("parent: {x} squared is {square}");
    }
    println!("parent: the child has ended: {}", child.shutdown(Duration::from_secs(2)).await?);
    Ok(())
}
