//! All plugins of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::process::Command;
use tokio::task::JoinSet;

use super::builder::PluginBuilder;
use super::error::PluginError;
use super::handle::Handle;
use super::{Plugin, instance};
use crate::client::ServiceClient;
use crate::limits;
use crate::sys;

/// Every plugin of a folder: each executable file in it, started.
///
/// ```no_run
/// # #[panpipe::service]
/// # pub trait Formatter { async fn format(&self, source: String) -> String; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use panpipe::{Backoff, Plugins};
///
/// let mut plugins = Plugins::load("/usr/lib/acme/plugins", |plugin| {
///     plugin.cookie("ACME_PLUGIN").restart(Backoff::exponential().attempts(3))
/// })
/// .await?;
/// for (file, error) in plugins.bad() {
///     eprintln!("{} is left out: {error}", file.display());
/// }
/// for (name, formatter) in plugins.of::<FormatterClient>() {
///     println!("{name}: {}", formatter.format("a  b".to_owned()).await?);
/// }
/// // Later, and as often as is wanted: what has changed on disk.
/// for change in plugins.refresh().await? {
///     println!("{change:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it kills all of them.
pub struct Plugins {
    folder: PathBuf,
    prepare: Arc<Prepare>,
    good: BTreeMap<String, Loaded>,
    bad: BTreeMap<PathBuf, Bad>,
}

type Prepare = dyn Fn(PluginBuilder) -> PluginBuilder + Send + Sync;

struct Loaded {
    file: PathBuf,
    version: Version,
    handle: Handle,
}

struct Bad {
    /// `None` where the next refresh tries the file again although it has not changed.
    version: Option<Version>,
    error: Arc<PluginError>,
}

/// What tells whether a file has changed.
type Version = (Option<SystemTime>, u64);

/// What has changed among the plugins of a folder.
#[derive(Debug)]
#[non_exhaustive]
pub enum PluginChange {
    /// A new file has been started.
    Added(String),
    /// A file has changed, and another process runs in the old one's place.
    Reloaded(String),
    /// A file has gone, and its plugin has been ended.
    Removed(String),
    /// A file that is new or has changed cannot be started. What ran before it goes on.
    Failed(PathBuf, Arc<PluginError>),
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins")
            .field("folder", &self.folder)
            .field("good", &self.good.keys())
            .field("bad", &self.bad.keys())
            .finish()
    }
}

impl Plugins {
    /// Starts every executable file of a folder, all at once. `prepare` says how, as of
    /// one that is started alone. Those that do not start are [`bad`](Self::bad).
    ///
    /// Whoever can write into the folder runs code in the name of this process's user. To
    /// start known programs alone, give each a rule by [`PluginBuilder::verify`].
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn load(
        folder: impl Into<PathBuf>,
        prepare: impl Fn(PluginBuilder) -> PluginBuilder + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let mut plugins = Plugins {
            folder: folder.into(),
            prepare: Arc::new(prepare),
            good: BTreeMap::new(),
            bad: BTreeMap::new(),
        };
        plugins.refresh().await?;
        Ok(plugins)
    }

    /// The names of those that run, or are being restarted: their files' without the
    /// ending, as far as that tells them apart.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let running = self.good.iter().filter(|(_, plugin)| !plugin.handle.is_over());
        running.map(|(name, _)| name.as_str())
    }

    /// The files that are no plugins of this host, each with the reason.
    pub fn bad(&self) -> impl Iterator<Item = (&Path, &PluginError)> {
        self.bad.iter().map(|(file, bad)| (file.as_path(), &*bad.error))
    }

    /// The clients of all that offer this service, with their names. Calls of one that is
    /// being restarted wait for its new process.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn of<C: ServiceClient>(&self) -> Vec<(&str, C)> {
        let clients = self.good.iter().filter_map(|(name, plugin)| Some((&**name, plugin.handle.offered()?)));
        clients.collect()
    }

    /// The client of one; `None` if there is none of this name that offers this service.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn get<C: ServiceClient>(&self, name: &str) -> Option<C> {
        self.good.get(name)?.handle.offered()
    }

    /// The process of one.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.good.get(name)?.handle.pid()
    }

    /// Looks at the folder again: starts what is new, reloads what has changed, ends
    /// what has gone. Bad ones are tried again when they have changed, or when the system was
    /// what failed, as for a file that is still open for writing.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read; nothing has been changed then.
    pub async fn refresh(&mut self) -> io::Result<Vec<PluginChange>> {
        let files = executables(&self.folder)?;
        let mut changes = self.remove_all_but(&files).await;
        // One that is over has no process that could be replaced: it is a new one.
        self.good
            .retain(|_, plugin| !plugin.handle.is_over() || files.get(&plugin.file) == Some(&plugin.version));
        let (mut starting, mut names) = (JoinSet::new(), BTreeSet::new());
        for (file, version) in files {
            if self.bad.get(&file).is_some_and(|bad| bad.version == Some(version)) {
                continue;
            }
            self.bad.remove(&file);
            match self.good.iter_mut().find(|(_, plugin)| plugin.file == file) {
                Some((_, plugin)) if plugin.version == version => {}
                Some((name, plugin)) => {
                    let reloaded = plugin.handle.reload().await;
                    if reloaded.as_ref().map_or_else(|error| !error.may_pass(), |()| true) {
                        plugin.version = version;
                    }
                    changes.push(match reloaded {
                        Ok(()) => PluginChange::Reloaded(name.clone()),
                        Err(error) => PluginChange::Failed(file, Arc::new(error)),
                    });
                }
                None => {
                    let name = free_name(&file, |name| self.good.contains_key(name) || names.contains(name));
                    names.insert(name.clone());
                    let plugin = (self.prepare)(Plugin::spawn(Command::new(&file)).name(&*name));
                    starting.spawn(async move { (file, version, name, plugin.start_any().await) });
                }
            }
        }
        // A task that panics, in a hook of the user's, starts nothing.
        while let Some(started) = starting.join_next().await {
            let Ok((file, version, name, started)) = started else { continue };
            changes.push(match started {
                Ok((handle, _)) => {
                    self.good.insert(name.clone(), Loaded { file, version, handle });
                    PluginChange::Added(name)
                }
                Err(error) => {
                    let version = (!error.may_pass()).then_some(version);
                    let error = Arc::new(error);
                    self.bad.insert(file.clone(), Bad { version, error: Arc::clone(&error) });
                    PluginChange::Failed(file, error)
                }
            });
        }
        Ok(changes)
    }

    /// Ends all in order, at once; see [`Plugin::shutdown`].
    pub async fn shutdown(mut self, grace: Duration) {
        end_all(std::mem::take(&mut self.good).into_values(), grace).await;
    }

    async fn remove_all_but(&mut self, files: &BTreeMap<PathBuf, Version>) -> Vec<PluginChange> {
        self.bad.retain(|file, _| files.contains_key(file));
        let (there, gone) = std::mem::take(&mut self.good)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, plugin)| files.contains_key(&plugin.file));
        self.good = there;
        let names = gone.keys().cloned().map(PluginChange::Removed).collect();
        end_all(gone.into_values(), limits::DRAIN).await;
        names
    }
}

/// A name for the plugin of a file: the file's without its ending, as far as no other has it.
fn free_name(file: &Path, is_taken: impl Fn(&str) -> bool) -> String {
    let stem = instance::stem(file.as_os_str());
    let whole = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let numbered = (2..).map(|number| format!("{stem} ({number})"));
    let mut names = [stem.clone(), whole].into_iter().chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or(stem)
}

async fn end_all(plugins: impl Iterator<Item = Loaded>, grace: Duration) {
    let mut ending: JoinSet<_> = plugins.map(|plugin| plugin.handle.shutdown(grace)).collect();
    while ending.join_next().await.is_some() {}
}

fn executables(folder: &Path) -> io::Result<BTreeMap<PathBuf, Version>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        // What comes and goes meanwhile is looked at the next time.
        let Ok(metadata) = fs::metadata(&file) else { continue };
        if sys::is_executable(&file, &metadata) {
            files.insert(file, version(&metadata));
        }
    }
    Ok(files)
}

fn version(metadata: &Metadata) -> Version {
    (metadata.modified().ok(), metadata.len())
}
