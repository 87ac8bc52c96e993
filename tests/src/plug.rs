//! A plugin that does what it is told, well or badly, and its host.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

/// The environment variable by which host and plugin know each other.
pub const COOKIE: &str = "PANPIPE_TEST_PLUGIN";

/// What the host does for its plugin.
#[panpipe::service]
pub trait Host {
    /// The sum.
    async fn add(&self, a: u64, b: u64) -> u64;
}

/// What the plugin does.
#[panpipe::service]
pub trait Plug {
    /// The sum, as the host has it.
    async fn add(&self, a: u64, b: u64) -> Option<u64>;
    /// Its process.
    #[idempotent]
    async fn pid(&self) -> u32;
    /// Never ends by itself.
    async fn hang(&self);
    /// Ends the process at once.
    async fn exit(&self, code: i32);
    /// Ends the process by a signal, with words to the standard error before it.
    async fn crash(&self, words: String);
    /// Blocks the only thread of the runtime.
    async fn block(&self, millis: u64);
    /// Starts a process that runs for long and has the pipes to the host too; its pid.
    async fn leave_a_child(&self) -> u32;
    /// The same in a session of its own, outside the plugin's group.
    async fn leave_a_daemon(&self) -> u32;
    /// Prints so many lines to both streams.
    async fn print(&self, lines: u32);
    /// Reads its standard input to the end; how many bytes there were.
    async fn read_stdin(&self) -> usize;
    /// Closes its standard output.
    async fn close_stdout(&self);
    /// Reads from its controlling terminal.
    async fn read_terminal(&self) -> Result<u8, String>;
    /// Its process, its process group and its session.
    async fn session(&self) -> [i32; 3];
    /// The numbers of its open descriptors, and what they are.
    async fn descriptors(&self) -> Vec<String>;
    /// Soft limits: address space, processor seconds, descriptors.
    async fn limits(&self) -> [Option<u64>; 3];
}

/// The host.
#[derive(Debug)]
pub struct Adder;

impl Host for Adder {
    async fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Plugged {
    /// Its host.
    pub host: HostClient,
}

impl Plug for Plugged {
    async fn add(&self, a: u64, b: u64) -> Option<u64> {
        self.host.add(a, b).await.ok()
    }

    async fn pid(&self) -> u32 {
        std::process::id()
    }

    async fn hang(&self) {
        std::future::pending().await
    }

    async fn exit(&self, code: i32) {
        std::process::exit(code)
    }

    async fn crash(&self, words: String) {
        eprintln!("{words}");
        std::process::abort()
    }

    async fn block(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[allow(clippy::zombie_processes, reason = "that nobody waits for it is what is tested")]
    async fn leave_a_child(&self) -> u32 {
        let child = crate::sys::leak_pipes_to_host(Command::new("sleep").arg("1000"), COOKIE)
            .stdin(Stdio::null())
            .spawn()
            .expect("a process can be started");
        child.id()
    }

    #[allow(clippy::zombie_processes, reason = "it is to be left")]
    async fn leave_a_daemon(&self) -> u32 {
        let daemon = crate::sys::leak_pipes_to_host(Command::new("setsid").args(["sleep", "1000"]), COOKIE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process can be started");
        daemon.id()
    }

    async fn print(&self, lines: u32) {
        for line in 0..lines {
            println!("line {line} to the standard output");
            eprintln!("line {line} to the standard error");
        }
    }

    async fn read_stdin(&self) -> usize {
        let (done, read) = oneshot::channel();
        std::thread::spawn(move || {
            done.send(std::io::read_to_string(std::io::stdin()).map_or(0, |all| all.len()))
        });
        read.await.unwrap_or(0)
    }

    async fn close_stdout(&self) {
        crate::sys::close_stdout();
    }

    async fn read_terminal(&self) -> Result<u8, String> {
        let read = || {
            let mut byte = [0];
            std::fs::File::open("/dev/tty")?.read_exact(&mut byte)?;
            Ok(byte[0])
        };
        read().map_err(|error: std::io::Error| error.to_string())
    }

    async fn session(&self) -> [i32; 3] {
        use rustix::process::{getpgrp, getpid, getsid};
        let session = getsid(None).expect("every process has a session");
        [getpid(), getpgrp(), session].map(|id| id.as_raw_nonzero().get())
    }

    async fn descriptors(&self) -> Vec<String> {
        crate::system::descriptors()
    }

    async fn limits(&self) -> [Option<u64>; 3] {
        use rustix::process::{Resource, getrlimit};
        [Resource::As, Resource::Cpu, Resource::Nofile].map(|resource| getrlimit(resource).current)
    }
}

/// Lines that somebody prints or events that happen, in order.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Adds a line.
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().expect("nobody panics while holding the log").push(line.into());
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics while holding the log").clone()
    }
}
