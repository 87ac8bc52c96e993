//! A host and its plugins: one that works, one that crashes, one in Python.
//!
//! `cargo run --example plugin_host`

use std::env;
use std::error::Error;
use std::io::ErrorKind;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use panpipe::{Backoff, Codec, Plugin, PluginBuilder, PluginError};

/// The environment variable by which this host and its plugins know each other.
const COOKIE: &str = "ACME_PLUGIN";

/// What each plugin does.
#[panpipe::service]
pub trait Transform {
    /// The text, transformed.
    async fn apply(&self, text: String) -> Result<String, String>;
}

/// What the host does for its plugins.
#[panpipe::service]
pub trait Host {
    /// How many words a text has.
    #[idempotent]
    async fn count_words(&self, text: String) -> usize;
}

struct Words;

impl Host for Words {
    async fn count_words(&self, text: String) -> usize {
        println!("host: a plugin has me count the words of {text:?}");
        text.split_whitespace().count()
    }
}

/// A plugin that works, and calls its host.
struct Upper {
    host: HostClient,
}

impl Transform for Upper {
    async fn apply(&self, text: String) -> Result<String, String> {
        // Printing disturbs nothing: the host has pipes of its own to this process.
        println!("upper: this line goes to the host's standard output");
        let words = self.host.count_words(text.clone()).await.map_err(|error| error.to_string())?;
        Ok(format!("{} ({words} words)", text.to_uppercase()))
    }
}

/// A plugin that crashes on demand, and can be killed in the middle of a call.
struct Crasher;

impl Transform for Crasher {
    async fn apply(&self, text: String) -> Result<String, String> {
        match text.as_str() {
            "crash" => {
                eprintln!("crasher: I was told to, goodbye");
                std::process::abort()
            }
            "take your time" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Err("nobody waits so long".to_owned())
            }
            "" => Err("there is nothing to transform".to_owned()),
            other => Ok(format!("<{other}>")),
        }
    }
}

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("upper") => panpipe::plugin_main(COOKIE, |host: HostClient| Upper { host }.serve()),
        Some("crasher") => panpipe::plugin_main(COOKIE, |_: HostClient| Crasher.serve()),
        _ => match host() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// This program again, as one of its plugins.
fn own(plugin: &'static str) -> Result<PluginBuilder, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(plugin);
    Ok(with_usual_settings(plugin, command))
}

fn with_usual_settings(name: &'static str, command: Command) -> PluginBuilder {
    Plugin::spawn(command)
        .name(name)
        .cookie(COOKIE)
        .offer(Words.serve())
        .restart(Backoff::exponential().attempts(3))
        .on_event(move |event| println!("host: {name}: {event}"))
}

#[tokio::main(flavor = "current_thread")]
async fn host() -> Result<(), Box<dyn Error>> {
    let upper: Plugin<TransformClient> = own("upper")?.start().await?;
    let crasher: Plugin<TransformClient> = own("crasher")?.start().await?;
    let mut pids = vec![upper.pid(), crasher.pid()];

    let shout = upper.client().apply("many a true word".to_owned()).await?;
    println!("host: upper makes of it: {shout}");
    println!("host: crasher makes of it: {}", crasher.client().apply("calm".to_owned()).await?);
    println!("host: crasher's own error: {:?}", crasher.client().apply(String::new()).await);

    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin_host/reverse.py"));
    match with_usual_settings("reverse", python).codec(Codec::Json).start::<TransformClient>().await {
        Ok(reverse) => {
            pids.push(reverse.pid());
            let reversed = reverse.client().apply("stressed".to_owned()).await?;
            println!("host: reverse, in Python, makes of it: {reversed}");
            reverse.shutdown(Duration::from_secs(2)).await?;
        }
        Err(PluginError::Program { source, .. }) if source.kind() == ErrorKind::NotFound => {
            println!("!! SKIPPED: the plugin in Python, there is no python3 here");
        }
        Err(other) => return Err(other.into()),
    }

    println!("\nhost: crasher is killed in the middle of a call");
    let call = tokio::spawn(crasher.client().apply("take your time".to_owned()));
    // Calls are read in their order: when this one is answered, the one before runs.
    crasher.client().apply("anything".to_owned()).await?;
    kill(crasher.pid().ok_or("it runs")?)?;
    println!("host: the call: {}", call.await?.expect_err("nobody was left to answer"));
    println!("host: the next one: {}", crasher.client().apply("back again".to_owned()).await?);

    println!("\nhost: crasher is told to crash");
    let crash = crasher.client().apply("crash".to_owned()).await;
    println!("host: the call: {}", crash.expect_err("nobody was left to answer"));
    println!("host: the next one: {}", crasher.client().apply("and again".to_owned()).await?);
    pids.push(crasher.pid());

    println!();
    for plugin in [upper, crasher] {
        let name = plugin.name().to_owned();
        println!("host: {name} has ended: {}", plugin.shutdown(Duration::from_secs(2)).await?);
    }
    for pid in pids.into_iter().flatten() {
        if is_there(pid) {
            return Err(format!("process {pid} is left").into());
        }
    }
    println!("host: no process is left");
    Ok(())
}

/// `kill -9`.
fn kill(pid: u32) -> Result<(), Box<dyn Error>> {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(format!("process {pid} could not be killed").into()) }
}

/// Whether there is such a process, a zombie too.
fn is_there(pid: u32) -> bool {
    Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
