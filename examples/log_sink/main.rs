//! A log that any program of the user writes to, by name: Rust programs by calls, shell
//! scripts by whatever they write. One process reads; nothing comes back.
//!
//! `cargo run --example log_sink` starts a reader, two writers and a shell script, and
//! checks what has come. By hand, in two terminals: `cargo run --example log_sink --
//! serve acme.log`, and `cargo run --example log_sink -- write acme.log hello`.

use std::env;
use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use panpipe::PipeName;
use panpipe::oneway::{self, PassedOver};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// For the record.
    Info,
    /// Something to look at.
    Warning,
}

/// Takes lines. All of its methods are one-way, so that one pipe is enough.
#[panpipe::service]
pub trait Log {
    /// One more.
    #[oneway]
    async fn line(&self, level: Level, from: String, text: String);
}

struct Print;

impl Log for Print {
    async fn line(&self, level: Level, from: String, text: String) {
        let mark = match level {
            Level::Info => ' ',
            Level::Warning => '!',
        };
        println!("{mark} {from}: {text}");
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", name] => serve(name).await,
        ["write", name, text] => write(name, text).await,
        _ => everything().await,
    }
}

async fn serve(name: &str) -> Outcome {
    let told_to_end = async {
        // Ends with the process that started it, or at the end of what is typed.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let server = oneway::Server::bind(name)
        .service(Print.serve())
        .on_passed_over(|what: PassedOver<'_>| println!("? {what}"))
        .until(told_to_end)
        .start()?;
    println!("reading {}", PipeName::new(name)?.path().display());
    Ok(server.wait().await?)
}

async fn write(name: &str, text: &str) -> Outcome {
    let log: LogClient = oneway::connect(name).wait(Duration::from_secs(10)).await?;
    let from = format!("process {}", std::process::id());
    for _ in 0..3 {
        log.line(Level::Info, from.clone(), text.to_owned()).await?;
    }
    log.line(Level::Warning, from, format!("that was all of {text:?}")).await?;
    Ok(())
}

async fn everything() -> Outcome {
    let this = env::current_exe()?;
    let name = format!("log_sink.{}", std::process::id());
    let mut reader = Command::new(&this)
        .args(["serve", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(reader.stdout.take().ok_or("it is piped")?).lines();
    next_line(&mut lines).await?.ok_or("the reader has not started, and has said why")?;

    let mut script = Command::new("sh");
    script.args(["-c", "echo 'a line of a shell script' > \"$FIFO\"; head -c 5000 /dev/urandom > \"$FIFO\""]);
    let mut writers = vec![script.env("FIFO", PipeName::new(&name)?.path()).spawn()?];
    for text in ["one thing", "another thing"] {
        writers.push(Command::new(&this).args(["write", &name, text]).spawn()?);
    }
    for mut writer in writers {
        let status = writer.wait().await?;
        assert!(status.success(), "a writer failed: {status}");
    }
    // What has been written is read before it ends.
    drop(reader.stdin.take());
    let (mut taken, mut warnings, mut passed_over) = (0, 0, 0);
    while let Some(line) = next_line(&mut lines).await? {
        taken += u32::from(line.starts_with("  process"));
        warnings += u32::from(line.starts_with("! process"));
        passed_over += u32::from(line.starts_with('?'));
    }
    let status = reader.wait().await?;
    assert!(status.success(), "the reader failed: {status}");
    assert_eq!((taken, warnings), (6, 2), "every call has come, once");
    assert!(passed_over > 0, "the shell's lines were passed over");
    println!(
        "{taken} lines and {warnings} warnings have come; {passed_over} times something was passed over"
    );
    Ok(())
}

/// The reader's next line, which is shown as well.
async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Option<String>, Box<dyn Error>> {
    let line = lines.next_line().await?;
    if let Some(line) = &line {
        println!("{line}");
    }
    Ok(line)
}
