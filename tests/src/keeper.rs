//! A service that does things as its caller.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use panpipe::{PathOpener, Peer, call};
use serde::{Deserialize, Serialize};

use crate::PATIENCE;
use crate::system::Standing;

/// Keeps files, and gives and takes what the caller may have.
#[panpipe::service]
pub trait Keeper {
    /// Reads a file as the caller.
    async fn read(&self, path: PathBuf) -> Result<String, String>;
    /// Opens a file as the caller, by a path of the caller's, and reads up to a KiB.
    async fn open(&self, path: PathBuf) -> Result<String, String>;
    /// Opens a file as the caller for writing, creates it if it is missing, and writes to it.
    async fn write(&self, path: PathBuf) -> Result<(), String>;
    /// Makes a file as the caller.
    async fn make(&self, path: PathBuf) -> Result<(), String>;
    /// How the threads of the server stand while one acts as the caller: that one first.
    async fn threads(&self) -> Result<Vec<Standing>, String>;
    /// How they stand now.
    async fn threads_now(&self) -> Vec<Standing>;
    /// Acts as the caller, with others, until so many do at once.
    async fn meet(&self, how_many: usize) -> Result<Standing, String>;
    /// Panics as the caller.
    async fn panic(&self);
    /// Gives up, as the caller, what leads back.
    async fn stay(&self);
    /// Who calls.
    async fn about(&self) -> About;
    /// Acts as the caller in a task of the server's own.
    async fn elsewhere(&self) -> Result<(), String>;
    /// Acts as the caller after the caller has gone.
    #[oneway]
    async fn linger(&self);
    /// What came of that.
    async fn lingered(&self) -> Option<Result<(), String>>;
}

/// What the system tells of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The user and the group.
    pub ids: (Option<u32>, Option<u32>),
    /// The supplementary groups.
    pub groups: Result<Vec<u32>, String>,
    /// The user's name.
    pub name: Result<String, String>,
    /// The program.
    pub executable: Result<PathBuf, String>,
    /// Whether it runs.
    pub running: Result<bool, String>,
}

/// The implementation.
#[derive(Debug, Default)]
pub struct KeeperImpl {
    met: Arc<(Mutex<usize>, Condvar)>,
    lingered: Mutex<Option<Result<(), String>>>,
}

/// What `f` gives as the caller, and errors in words.
async fn as_caller<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    call::impersonate(f).await.map_err(|error| error.to_string())
}

/// Waits until nothing can be asked of a caller any more. Of that there is no event, and
/// a handler cannot wait by `eventually`, whose closure is not `Send`.
async fn gone(caller: Peer) {
    while caller.groups().is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Keeper for KeeperImpl {
    async fn read(&self, path: PathBuf) -> Result<String, String> {
        as_caller(move || fs::read_to_string(path)).await?.map_err(|error| error.to_string())
    }

    async fn open(&self, path: PathBuf) -> Result<String, String> {
        let file = call::open(path).await.map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    async fn write(&self, path: PathBuf) -> Result<(), String> {
        let writing = PathOpener::new().read(false).write(true).create(true);
        let file = call::open_with(path, writing).await;
        file.map_err(|error| error.to_string())?.write_all(b"written").map_err(|error| error.to_string())
    }

    async fn make(&self, path: PathBuf) -> Result<(), String> {
        let make = move || OpenOptions::new().write(true).create_new(true).open(path)?.write_all(b"made");
        as_caller(make).await?.map_err(|error| error.to_string())
    }

    async fn threads(&self) -> Result<Vec<Standing>, String> {
        as_caller(|| {
            let mut all = vec![Standing::of_this_thread()];
            all.extend(Standing::of_other_threads());
            all
        })
        .await
    }

    async fn threads_now(&self) -> Vec<Standing> {
        let mut all = vec![Standing::of_this_thread()];
        all.extend(Standing::of_other_threads());
        all
    }

    async fn meet(&self, how_many: usize) -> Result<Standing, String> {
        let met = Arc::clone(&self.met);
        as_caller(move || {
            let (count, more) = &*met;
            let mut here = count.lock().expect("nobody panics while counting");
            *here += 1;
            more.notify_all();
            let (here, waited) = more
                .wait_timeout_while(here, PATIENCE, |here| *here < how_many)
                .expect("nobody panics while counting");
            assert!(!waited.timed_out(), "{here} of {how_many} came");
            drop(here);
            Standing::of_this_thread()
        })
        .await
    }

    async fn panic(&self) {
        let _ = as_caller(|| panic!("as it was asked to")).await;
    }

    async fn stay(&self) {
        let _ = as_caller(|| {
            let caller = rustix::process::geteuid();
            rustix::thread::set_thread_res_uid(caller, caller, caller).expect("it is one of its own");
        })
        .await;
    }

    async fn about(&self) -> About {
        let peer = call::peer();
        About {
            ids: (peer.uid, peer.gid),
            groups: peer.groups().map_err(|error| error.to_string()),
            name: peer.user_name().map_err(|error| error.to_string()),
            executable: peer.executable().map_err(|error| error.to_string()),
            running: peer.is_running().map_err(|error| error.to_string()),
        }
    }

    async fn elsewhere(&self) -> Result<(), String> {
        tokio::spawn(as_caller(|| ())).await.expect("it does not panic")
    }

    async fn linger(&self) {
        gone(call::peer()).await;
        let outcome = as_caller(|| ()).await;
        *self.lingered.lock().expect("nobody panics while writing") = Some(outcome);
    }

    async fn lingered(&self) -> Option<Result<(), String>> {
        self.lingered.lock().expect("nobody panics while writing").clone()
    }
}
