//! .NET's how-to for anonymous pipes: a parent sends SYNC to its child, waits until the
//! child has taken it, and then sends it lines, which the child prints.
//!
//! In .NET the one pipe's `WaitForPipeDrain` says that the bytes of SYNC have been read,
//! and only on Windows. Here `flush()` says that the child's handler has it, which
//! takes a way back: the child has a pipe in each direction. `--one-way` does without:
//! one pipe, and no answer to wait for.
//!
//! `cargo run --example lines` sends what you type; `cargo run --example lines -- --demo`
//! a few lines of its own.

use std::env;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use panpipe::{NoService, ServiceClient, oneway};
use panpipe_transport::{PipeReader, anonymous};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What the child does for its parent.
#[panpipe::service]
pub trait Reader {
    /// The parent is there, and lines are to come.
    #[oneway]
    async fn sync(&self);
    /// One more line.
    #[oneway]
    async fn line(&self, text: String);
}

struct Print;

impl Reader for Print {
    async fn sync(&self) {
        println!("[child] SYNC");
    }

    async fn line(&self, text: String) {
        println!("[child] {text}");
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["child"] => return Ok(panpipe::serve_parent(|_: NoService| Print.serve()).await?),
        ["child", handle] => {
            oneway::serve_reader(PipeReader::from_handle(handle)?, Print.serve()).await?;
            return Ok(());
        }
        _ => {}
    }
    let demo = args.contains(&"--demo");
    let status = if args.contains(&"--one-way") { one_way(demo).await? } else { both_ways(demo).await? };
    println!("[parent] the child has ended: {status}");
    assert!(status.success());
    Ok(())
}

async fn both_ways(demo: bool) -> Result<ExitStatus, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("child");
    let child = panpipe::spawn(command).start::<ReaderClient>()?;
    let reader = child.client();
    reader.sync().await?;
    reader.flush().await?;
    println!("[parent] the child has taken SYNC");
    send_lines(reader, demo).await?;
    // The last line is with the child before it is told to end.
    reader.flush().await?;
    Ok(child.shutdown(Duration::from_secs(5)).await?)
}

async fn one_way(demo: bool) -> Result<ExitStatus, Box<dyn Error>> {
    let (pipe, ends) = anonymous::to_child()?;
    let mut command = Command::new(env::current_exe()?);
    command.args(["child", &ends.handles()]);
    let passed = ends.pass_to(&mut command)?;
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    drop(passed);
    let reader: ReaderClient = oneway::over(pipe);
    reader.sync().await?;
    println!("[parent] SYNC is in the pipe; nobody can say more: {}", said(reader.flush().await));
    send_lines(&reader, demo).await?;
    // The child reads the end of the pipe, behind the last line.
    drop(reader);
    Ok(child.wait().await?)
}

async fn send_lines(reader: &ReaderClient, demo: bool) -> Outcome {
    if demo {
        for text in ["a line", "another line", "and the last one"] {
            reader.line(text.to_owned()).await?;
        }
        return Ok(());
    }
    let prompts = std::io::stdin().is_terminal();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        if prompts {
            print!("[parent] a line, or the end of input: ");
            std::io::stdout().flush()?;
        }
        match lines.next_line().await? {
            Some(text) => reader.line(text).await?,
            None => return Ok(()),
        }
    }
}

fn said<T, E: Error>(result: Result<T, E>) -> String {
    result.err().map_or_else(|| "all is well".to_owned(), |error| error.to_string())
}
