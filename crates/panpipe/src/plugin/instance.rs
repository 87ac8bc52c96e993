//! A plugin's process that has said hello, and what it is started from.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::{Peer, PipeStream, anonymous};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::error::PluginError;
use super::process::{Ended, Outputs, Process};
use crate::child::STDIO;
use crate::error::{Refusal, RefusalReason};
use crate::limits::{self, Limits};
use crate::link::{Link, over_pipe, over_stream};
use crate::offers::Offers;
use crate::session::{CloseReason, Config};
use crate::sys::{self, Confinement};

/// What a host says of a plugin before it is started.
pub(crate) struct Settings {
    pub(super) name: Option<String>,
    pub(super) command: Command,
    pub(super) over_stdio: bool,
    /// Nothing is read if none is given.
    pub(super) stdin: Option<Stdio>,
    pub(super) cookie: String,
    pub(super) offers: Offers,
    pub(super) config: Config,
    pub(super) handshake_timeout: Duration,
    pub(super) outputs: Outputs,
    pub(crate) confinement: Confinement,
    pub(super) rule: Option<Arc<Rule>>,
}

/// Whether a program may be run, by its path and its opened file; if not, why.
pub(super) type Rule = dyn Fn(&Path, &File) -> Result<(), String> + Send + Sync;

/// What a plugin's processes are started from, one after the other.
pub(super) struct Blueprint {
    pub(super) name: Arc<str>,
    pub(super) program: String,
    command: Command,
    /// How each gets pipes of its own; nothing where its standard streams are used.
    inheritance: Option<anonymous::Inheritance>,
    cookie: String,
    offers: Offers,
    config: Config,
    handshake_timeout: Duration,
    outputs: Outputs,
    /// A standard stream of it is the null device.
    needs_null: bool,
    rule: Option<Arc<Rule>>,
}

/// A process that is called.
pub(super) struct Instance {
    pub(super) process: Process,
    pub(super) link: Arc<Link>,
    /// What moves its bytes.
    pub(super) connection: Running,
}

/// The task of a connection. Dropping it ends the connection, whoever else has its
/// pipes: a process that the plugin has left behind may.
pub(super) struct Running(Option<JoinHandle<CloseReason>>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Running {
    /// Waits until the connection has ended; gives why, once. Cancel safe.
    pub(super) async fn ended(&mut self) -> Option<CloseReason> {
        let reason = self.0.as_mut()?.await;
        self.0 = None;
        reason.ok()
    }
}

impl Blueprint {
    pub(super) fn new(settings: Settings) -> Self {
        let Settings { mut command, offers, outputs, .. } = settings;
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let name = settings.name.unwrap_or_else(|| stem(command.as_std().get_program()));
        command.stderr(outputs.stderr.stdio());
        settings.confinement.confine(command.as_std_mut());
        let over_stdio = settings.over_stdio;
        let needs_null = outputs.stderr.is_null()
            || (!over_stdio && (settings.stdin.is_none() || outputs.stdout.is_null()));
        let inheritance = if over_stdio {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            None
        } else {
            command.stdin(settings.stdin.unwrap_or_else(Stdio::null)).stdout(outputs.stdout.stdio());
            Some(anonymous::Inheritance::of(command.as_std_mut()))
        };
        let limits = Limits {
            handshake_timeout: settings.handshake_timeout,
            ..Limits::clone(&settings.config.limits)
        };
        Blueprint {
            name: name.into(),
            program,
            command,
            inheritance,
            cookie: settings.cookie,
            // Behind the plugin's own timeout, which says more.
            config: Config { limits: Arc::new(limits), ..settings.config },
            offers,
            handshake_timeout: settings.handshake_timeout,
            outputs,
            needs_null,
            rule: settings.rule,
        }
    }

    /// Starts a process and waits until it has said hello. Dropping the future kills it.
    pub(super) async fn start(&mut self) -> Result<Instance, PluginError> {
        let (mut process, pipes) = self.run_verified().await?;
        let peer = Peer::child(process.pid());
        let prepared = match pipes {
            Some(stream) => over_pipe(stream.with_peer(peer), self.config.clone()),
            None => {
                let stream = process.take_stdio().map_err(|error| self.system(error))?;
                over_stream(stream, self.config.clone())
            }
        };
        process.read_outputs(&self.name, &self.outputs).map_err(|error| self.system(error))?;
        let (open, opened) = oneshot::channel();
        let (link, driver) = prepared
            .with_offers(self.offers.clone())
            .on_open(move || {
                let _ = open.send(());
            })
            .into_parts();
        let mut connection = Running(Some(tokio::spawn(driver)));
        link.say_hello();
        let mut reason = None;
        tokio::select! {
            biased;
            Ok(()) = opened => return Ok(Instance { process, link, connection }),
            () = process.ended() => {}
            why = connection.ended() => reason = why,
            () = sleep(self.handshake_timeout) => return Err(self.late(process).await),
        }
        // How it ended and what it had to say come in any order.
        if reason.is_none() {
            reason = timeout(limits::PLUGIN_LAST_WORDS, connection.ended()).await.ok().flatten();
        }
        let has_ended = timeout(limits::PLUGIN_LAST_WORDS, process.ended()).await.is_ok();
        process.kill();
        Err(match process.end().await {
            Ok(ended) => self.explain(reason, has_ended, ended),
            Err(source) => self.system(source),
        })
    }

    /// Runs the command if the rule lets it, and again for some time while its file is open for
    /// writing: a fork of another thread may hold a file that was just written.
    async fn run_verified(&mut self) -> Result<(Process, Option<PipeStream>), PluginError> {
        let mut tries = limits::BUSY_FILE_TRIES;
        loop {
            let verified = self.verify().await?;
            match self.run().await {
                Err(error) if error.is_file_busy() && tries > 0 => {
                    tries -= 1;
                    sleep(limits::EXIT_PAUSE).await;
                }
                Ok(_) if verified.is_some_and(|file| !file.is_unchanged()) => {
                    return Err(self.rejected("its file has changed while it was started".to_owned()));
                }
                ran => return ran,
            }
        }
    }

    /// Asks the rule, if there is one.
    async fn verify(&self) -> Result<Option<Verified>, PluginError> {
        let Some(rule) = &self.rule else { return Ok(None) };
        let (path, rule) = (PathBuf::from(self.command.as_std().get_program()), Arc::clone(rule));
        if path.components().count() < 2 {
            return Err(self.rejected("a rule takes a command that names its program by a path".to_owned()));
        }
        let verdict = tokio::task::spawn_blocking(move || {
            let file = File::open(&path)?;
            let identity = sys::file_identity(&file.metadata()?);
            Ok(rule(&path, &file).map(|()| Verified { path, identity }))
        });
        match verdict.await {
            Ok(Ok(verdict)) => verdict.map(Some).map_err(|why| self.rejected(why)),
            Ok(Err(source)) => Err(PluginError::Program { program: self.program.clone(), source }),
            Err(_) => Err(self.rejected("its rule has panicked".to_owned())),
        }
    }

    fn rejected(&self, why: String) -> PluginError {
        PluginError::Rejected { program: self.program.clone(), why }
    }

    /// Runs the command, with pipes of its own unless its standard streams are used.
    async fn run(&mut self) -> Result<(Process, Option<PipeStream>), PluginError> {
        if self.needs_null {
            sys::check_null_device().map_err(|error| self.system(error))?;
        }
        let pipes = match &self.inheritance {
            None => {
                self.command.env(&self.cookie, STDIO);
                None
            }
            Some(inheritance) => {
                let (stream, ends) = anonymous::for_child().map_err(|error| self.system(error))?;
                self.command.env(&self.cookie, ends.handles());
                Some((stream, inheritance.pass(ends).map_err(|error| self.system(error))?))
            }
        };
        let command = std::mem::replace(&mut self.command, Command::new(""));
        let (command, process) = Process::run(command).await;
        self.command = command;
        let process =
            process.map_err(|source| PluginError::Program { program: self.program.clone(), source })?;
        let stream = pipes.map(|(stream, passed)| {
            // With our copies of its ends closed, its own end is seen.
            drop(passed);
            stream
        });
        Ok((process, stream))
    }

    fn system(&self, source: io::Error) -> PluginError {
        PluginError::System { program: self.program.clone(), source }
    }

    async fn late(&self, process: Process) -> PluginError {
        let (program, after) = (self.program.clone(), self.handshake_timeout);
        process.kill();
        match process.end().await {
            Ok(Ended { stderr_tail, .. }) => PluginError::Timeout { program, after, stderr_tail },
            Err(source) => self.system(source),
        }
    }

    /// Why a process has gone, or has closed its pipes, before it had said hello.
    fn explain(&self, reason: Option<CloseReason>, has_ended: bool, ended: Ended) -> PluginError {
        let Ended { status, stderr_tail } = ended;
        let program = self.program.clone();
        match reason {
            Some(CloseReason::Refused(Refusal { reason: RefusalReason::NotPanpipe, message })) => {
                PluginError::NotAPlugin { program, why: message, stderr_tail }
            }
            Some(CloseReason::Refused(refusal)) => PluginError::Refused { program, refusal },
            _ if has_ended => PluginError::Exited { program, status, stderr_tail },
            Some(CloseReason::Closed) | None => {
                PluginError::NotAPlugin { program, why: "it has closed its pipes".to_owned(), stderr_tail }
            }
            Some(other) => PluginError::NotAPlugin { program, why: other.to_string(), stderr_tail },
        }
    }
}

/// A program that a rule lets run.
struct Verified {
    path: PathBuf,
    identity: sys::FileIdentity,
}

impl Verified {
    /// Whether the path still leads to the file that the rule has seen, with its contents.
    fn is_unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| sys::file_identity(&metadata) == self.identity)
    }
}

/// A program's name without its folder and its ending.
pub(super) fn stem(program: &OsStr) -> String {
    Path::new(program).file_stem().unwrap_or(program).to_string_lossy().into_owned()
}
