//! Tells a server that the file of its name has been removed.
//!
//! Programs that clean /tmp remove sockets and FIFOs that are in use. No client finds the
//! server then, and nothing else tells it.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::sync::watch;

use super::directory::Entry;
use super::register::{Watched, watch};

/// The watch over the file of one name.
///
/// All event loops of the process share one inotify instance: closing one takes the kernel
/// 10 to 30 ms, and each user may have 128.
#[derive(Debug)]
pub(super) struct LossWatch {
    inotify: Arc<OwnedFd>,
    id: i32,
    /// The process that made it. A copy in a forked child watches nothing.
    owner: u32,
    /// `None` while it is dropped.
    watched: Option<Watched>,
    /// Changed when any watch of the process has seen an event: the one that reads it takes it
    /// from the others.
    seen: Mutex<watch::Receiver<()>>,
}

static EVENTS: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

impl LossWatch {
    /// Watches what is at `entry`, in the event loop of this runtime. `None`, and a line in the
    /// log, where the system refuses.
    pub(super) fn new(entry: &Entry) -> Option<Self> {
        static SHARED: OnceLock<Option<Arc<OwnedFd>>> = OnceLock::new();
        let shared = || init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Arc::new);
        let mut refused = None;
        let inotify = SHARED.get_or_init(|| shared().map_err(|errno| refused = Some(errno)).ok());
        let made = inotify.as_ref().ok_or(refused.unwrap_or(Errno::NOSYS)).and_then(|inotify| {
            let seen = Mutex::new(EVENTS.subscribe());
            let id = add(inotify, entry)?;
            let fd =
                inotify.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let watched = watch(Arc::new(fd), Interest::READABLE)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(LossWatch {
                inotify: Arc::clone(inotify),
                id,
                owner: std::process::id(),
                watched: Some(watched),
                seen,
            })
        });
        made.map_err(|errno| log_refusal(entry, errno)).ok()
    }

    /// Ready when something may have happened to the file. Cancel safe.
    pub(super) async fn event(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = pin!(seen.changed());
        poll_fn(|cx| match self.poll_read(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => seen.as_mut().poll(cx).map(|_| ()),
        })
        .await;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).borrow_and_update();
    }

    /// Reads the events of all watches of the process, and passes the word on to the others.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(watched) = &self.watched else { return Poll::Pending };
        let Poll::Ready(Ok(mut ready)) = watched.poll_read_ready(cx) else { return Poll::Pending };
        let has_read = drain(&self.inotify);
        ready.clear_ready();
        if has_read {
            EVENTS.send_replace(());
            return Poll::Ready(());
        }
        // Another watch has read it. Asked again, so that the next event wakes this task.
        match watched.poll_read_ready(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for LossWatch {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = remove_watch(&self.inotify, self.id);
        } else {
            // A forked child shares the event loop, from which this would remove the watch.
            std::mem::forget(self.watched.take());
        }
    }
}

/// The same for a thread that waits by itself: an instance of its own, readable when
/// something has happened.
#[derive(Debug)]
pub(super) struct BlockingLossWatch(OwnedFd);

impl BlockingLossWatch {
    pub(super) fn new(entry: &Entry) -> Option<Self> {
        let made = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let made = made.and_then(|inotify| add(&inotify, entry).map(|_| BlockingLossWatch(inotify)));
        made.map_err(|errno| log_refusal(entry, errno)).ok()
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Forgets what has happened so far.
    pub(super) fn clear(&self) {
        drain(&self.0);
    }
}

fn add(inotify: &OwnedFd, entry: &Entry) -> rustix::io::Result<i32> {
    // The number of links changes when the file is removed, though the socket stays open.
    let events = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
    match add_watch(inotify, entry.path(), events | WatchFlags::DONT_FOLLOW) {
        Err(Errno::NAMETOOLONG) => add_watch(inotify, entry.kernel_path(), events | WatchFlags::DONT_FOLLOW),
        other => other,
    }
}

/// Whether there was an event.
fn drain(inotify: &OwnedFd) -> bool {
    let (mut events, mut any) = ([0; 1024], false);
    while rustix::io::read(inotify, &mut events).is_ok_and(|n| n > 0) {
        any = true;
    }
    any
}

/// The system refuses where a user has as many watches as its administrator allows, and where
/// a filter knows no inotify.
fn log_refusal(entry: &Entry, errno: Errno) {
    tracing::debug!(
        path = %entry.display(),
        "inotify: {errno}; if the file of this name is removed, the server will not notice"
    );
}
