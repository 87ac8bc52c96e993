//! Processes that the tests run. Each ends with the test that started it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};

use crate::{PATIENCE, raw};

/// A process of a test's own, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// What it leaves behind when it is killed.
    files: Vec<PathBuf>,
}

impl Process {
    /// Runs a program, whose standard error is nobody's.
    pub fn start(command: &mut Command) -> Process {
        let mut child = command
            // Where many are to panic, the traces would be most of the time.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("PANPIPE_TEST_STDERR").is_some() {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .spawn()
            .expect("a program of the tests can be run");
        let stdout = child.stdout.take().expect("it is piped");
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Process { child, lines, files: Vec::new() }
    }

    /// The files that a server of this name leaves behind when it is killed: to
    /// be removed with this process.
    pub fn serving(mut self, name: &str) -> Process {
        let path = raw::path_of(name);
        self.files.extend([path.with_file_name(format!("{name}.lock")), path]);
        self
    }

    /// The same of a server whose socket is at this path.
    pub fn serving_at(mut self, path: &Path) -> Process {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        self.files.extend([path.to_owned(), lock.into()]);
        self
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the process prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the program prints a line before it ends")
    }

    /// All lines until it closes its standard output, as when it ends.
    pub fn rest(&self) -> Vec<String> {
        let next = || match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program does not end"),
        };
        std::iter::from_fn(next).collect()
    }

    /// Tells it to end, by the end of its standard input, and gives all lines until then.
    pub fn last_lines(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        self.rest()
    }

    /// How many lines it has printed that nobody has asked for.
    pub fn printed(&self) -> usize {
        self.lines.try_iter().count()
    }

    /// Waits for a line.
    pub fn wait_for(&self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it was not told to end");
        writeln!(stdin, "{line}").expect("the program reads");
    }

    /// Writes an empty line to its standard input.
    pub fn nudge(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"\n").expect("the program reads");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid is above nought"), signal)
            .expect("one's own child can be signalled");
    }

    /// Stops the process, and returns once each of its threads stands still.
    pub fn stop(&self) {
        use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
        self.signal(Signal::STOP);
        let pid = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        let status = waitid(WaitId::Pid(pid.expect("a pid is above zero")), WaitIdOptions::STOPPED);
        assert!(status.expect("one's own child can be waited for").is_some_and(|status| status.stopped()));
    }

    /// Ends the process without a warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells it to end, by the end of its standard input, and waits until it has.
    pub fn finish(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// The same. Gives also the lines that it has printed and nobody has read.
    pub fn finish_with_lines(mut self) -> (ExitStatus, Vec<String>) {
        drop(self.child.stdin.take());
        let status = self.wait();
        (status, self.lines.iter().collect())
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("one's own child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the program does not end");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}
