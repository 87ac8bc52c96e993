//! A plugin to be started: what it is given, what it may, what is done when it fails.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use panpipe_transport::Latency;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::error::PluginError;
use super::event::Event;
use super::handle::{Handle, Plugin};
use super::instance::{Blueprint, Settings};
use super::output::Output;
use super::process::Outputs;
use super::supervisor::{Health, OnEvent, State, Supervisor};
use crate::backoff::Backoff;
use crate::child::HANDLES;
use crate::client::ServiceClient;
use crate::codec::Codec;
use crate::limits::{self, Limits};
use crate::link::Link;
use crate::metadata::Metadata;
use crate::offers::Offers;
use crate::servable::Service;
use crate::session::{Config, ServiceInfo};
use crate::sys::Confinement;

/// A plugin to be started. Made by [`Plugin::spawn`].
#[must_use = "a plugin is started by `.start()`"]
pub struct PluginBuilder {
    pub(crate) settings: Settings,
    restart: Option<Backoff>,
    health: Option<Health>,
    on_event: Option<OnEvent>,
}

impl std::fmt::Debug for PluginBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginBuilder").field("command", &self.settings.command).finish_non_exhaustive()
    }
}

impl PluginBuilder {
    pub(super) fn new(command: Command) -> Self {
        let settings = Settings {
            name: None,
            command,
            over_stdio: false,
            stdin: None,
            cookie: HANDLES.to_owned(),
            offers: Offers::default(),
            config: Config::dialer(ServiceInfo::none()),
            handshake_timeout: limits::PLUGIN_HANDSHAKE,
            outputs: Outputs { stdout: Output::Inherit, stderr: Output::Copy },
            confinement: Confinement::default(),
            rule: None,
        };
        PluginBuilder { settings, restart: None, health: None, on_event: None }
    }

    /// What the plugin is called in logs and events; its program's name, if not given.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// The environment variable by which the plugin knows that this host has started
    /// it: the same as in its [`plugin_main`](crate::plugin_main). Give each kind of
    /// host one of its own.
    pub fn cookie(mut self, variable: impl Into<String>) -> Self {
        self.settings.cookie = variable.into();
        self
    }

    /// Lets the plugin call this service. Several may be offered; one twice is an error
    /// when the plugin starts.
    pub fn offer(mut self, service: impl Service) -> Self {
        self.settings.offers.add_shared(service);
        self
    }

    /// Gives the plugin this [metadata](Metadata) for the connection of each of its processes; there may be
    /// several, of several names. Its handlers read them by
    /// [`call::connection_metadata`](crate::call::connection_metadata).
    ///
    /// A value that cannot be encoded, and more than 1,536 bytes in all, are
    /// [`PluginError::Metadata`] when the plugin is started.
    pub fn metadata<M: Metadata>(mut self, value: &M) -> Self {
        self.settings.config.add_metadata(value);
        self
    }

    /// What this side accepts from the plugin. One over whose connection nothing passes
    /// is kept, whatever [`Limits::idle_timeout`] says.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.config.limits = Arc::new(Limits { idle_timeout: None, ..limits });
        self
    }

    /// How the connection waits for bytes on this side.
    pub fn latency(mut self, latency: Latency) -> Self {
        self.settings.config.latency = latency;
        self
    }

    /// Encodes with another codec than the default one: for plugins in other languages.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.settings.config.codec = codec;
        self
    }

    /// Talks over the plugin's standard input and output: for where it can have no
    /// other handles, as behind ssh, in a container, in a wrapper.
    ///
    /// The variable of the cookie does not get through those: set it to `stdio` where
    /// the program is run, as in `ssh host ACME_PLUGIN=stdio fmt-plugin`. What a Rust
    /// plugin prints then goes to its standard error; another program must print
    /// nothing.
    pub fn over_stdio(mut self) -> Self {
        self.settings.over_stdio = true;
        self
    }

    /// What it reads on its standard input: nothing, if not given. Reading from the host's
    /// terminal fails: the plugin is in a session of its own.
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Self {
        self.settings.stdin = Some(input.into());
        self
    }

    /// Where the lines go that it prints; where the host's own go, if not given.
    pub fn stdout(mut self, output: Output) -> Self {
        self.settings.outputs.stdout = output;
        self
    }

    /// Where the lines go that it prints to its standard error; copied to the host's,
    /// if not given. The last of them are told when it dies, unless they are
    /// [inherited](Output::Inherit) or go [nowhere](Output::Null).
    pub fn stderr(mut self, output: Output) -> Self {
        self.settings.outputs.stderr = output;
        self
    }

    /// How long it may take to say hello; 5 seconds, if not given.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Starts it again when its process ends without the host's wish.
    ///
    /// Calls that it was answering fail with
    /// [`Disconnected`](crate::CallError::Disconnected); which of them are made again,
    /// and that later ones wait for the new process, is as with
    /// [`Connect::reconnect`](crate::Connect::reconnect). `backoff` counts the starts
    /// and ends that follow one another; a process that has run for ten seconds begins
    /// anew. Streams and stubs of the old process end with it.
    pub fn restart(mut self, backoff: Backoff) -> Self {
        self.restart = Some(backoff);
        self
    }

    /// Asks it every `every` whether it is there, and kills it when it does not answer
    /// within `within`. Any process that reads and answers is healthy, however long its
    /// calls take; one that blocks the only thread of its runtime is not, nor one that
    /// runs as many calls for so long as it takes at once.
    pub fn health(mut self, every: Duration, within: Duration) -> Self {
        self.health = Some(Health { every, within });
        self
    }

    /// Calls `hook` whenever something happens to it. The hook must not block.
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Calls `rule` with the plugin's program before each start, restarts and reloads included.
    /// The program runs if the rule returns `Ok`; an error's text becomes
    /// [`PluginError::Rejected`].
    ///
    /// The rule gets the path and the opened file, to compare a checksum or a signature, or to
    /// look at the owner. It runs on a thread where it may block. The command has to name the
    /// program by a path. For a script the rule sees the script and not its interpreter.
    ///
    /// When the file has changed between the rule and the start, the process is killed before
    /// anything is said to it. A user who can write to the file or its folder at that moment can
    /// still have code of their own run for an instant: keep both writable by their owner alone.
    ///
    /// ```no_run
    /// # // Stands for the function of a crate of checksums: the example is compiled and not run.
    /// # fn sha256(_: &std::fs::File) -> std::io::Result<[u8; 32]> { Err(std::io::ErrorKind::Unsupported.into()) }
    /// # const KNOWN: &[[u8; 32]] = &[];
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let plugins = panpipe::Plugins::load("/usr/lib/acme/plugins", |plugin| {
    ///     plugin.cookie("ACME_PLUGIN").verify(|_path, file| {
    ///         let checksum = sha256(file).map_err(|error| error.to_string())?;
    ///         if KNOWN.contains(&checksum) { Ok(()) } else { Err("unknown checksum".to_owned()) }
    ///     })
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(
        mut self,
        rule: impl Fn(&Path, &File) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.settings.rule = Some(Arc::new(rule));
        self
    }

    /// Starts the plugin and waits until it has said hello. Dropping the future leaves
    /// nothing behind.
    ///
    /// # Errors
    ///
    /// See [`PluginError`]; nothing of it runs then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start<C: ServiceClient>(mut self) -> Result<Plugin<C>, PluginError> {
        self.settings.config.wants = C::info().or_none();
        let (handle, first) = self.start_any().await?;
        Ok(Plugin::new(handle, first))
    }

    /// Starts a plugin, whatever it offers.
    pub(super) async fn start_any(self) -> Result<(Handle, Arc<Link>), PluginError> {
        let PluginBuilder { mut settings, restart, health, on_event } = self;
        settings.config = settings.config.with_checked_metadata()?;
        settings.config.offers = settings.offers.checked_infos()?;
        let mut blueprint = Blueprint::new(settings);
        let first = blueprint.start().await?;
        let name = Arc::clone(&blueprint.name);
        let (pid, link) = (first.process.pid(), Arc::clone(&first.link));
        let (tell, state) = watch::channel(State::Running { pid, link: Arc::clone(&link) });
        let (end, ends) = mpsc::channel(1);
        let (replace, replacements) = mpsc::channel(1);
        let backoff = restart.clone().unwrap_or_else(Backoff::exponential);
        let supervisor = Supervisor {
            blueprint,
            restart,
            health,
            on_event,
            state: tell,
            ends,
            replacements,
            leaving: JoinSet::new(),
        };
        let task = tokio::spawn(supervisor.run(first)).abort_handle();
        Ok((Handle { name, backoff, state, ends: end, replacements: replace, task }, link))
    }
}

/// So that `?` works in a `main` that returns `io::Result`.
impl From<PluginError> for io::Error {
    fn from(error: PluginError) -> Self {
        io::Error::other(error)
    }
}
