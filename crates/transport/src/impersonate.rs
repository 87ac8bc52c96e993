//! Doing something as the user at the other end.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::ImpersonateError;
use crate::limits::IMPERSONATIONS;
use crate::peer::Peer;
use crate::sys;

impl Peer {
    /// Runs `f` with the rights of the process at the other end: its user, its group
    /// and its supplementary groups, as of the connection, and without any capability.
    /// So the system decides what the peer may do, and not this process. In a handler
    /// `panpipe::call::impersonate` is the shorter way.
    ///
    /// `f` runs on a thread of its own, of which alone the *effective* ids are changed.
    /// They are read back before `f` runs, and it does not run if they are not what they
    /// should be. After it, also when it panics, the thread is made what it was; if that
    /// cannot be done the process is aborted. A process whose user, group and groups are
    /// the peer's already needs no right for that, any other CAP_SETUID and CAP_SETGID,
    /// which root has.
    ///
    /// **`f` still runs in this process.** The peer's user decides only what `f` may do to
    /// files and sockets of others. What belongs to this process is open to `f` and looks like
    /// a file: `/proc/self/maps`, `/proc/self/fd/N`, `/dev/fd/N`, `/dev/stdin`, `/dev/tty`. So
    /// open a path that the peer has named by [`open`](Self::open), or inside of `f` by a
    /// [`PathOpener`](crate::PathOpener), and not by [`std::fs`]. SECURITY.md lists what the
    /// kernel does not separate.
    ///
    /// What else you must know of `f`:
    /// - It should open files, make or remove them, connect to sockets, and hand back
    ///   what it opened. **It must not start programs or threads**, nor have a runtime
    ///   do so, as by tokio's `spawn_blocking`: a thread would be the peer's for good,
    ///   and a program could take this process's user back.
    /// - Paths mean what they mean to this process: the current directory, the root
    ///   directory and the umask stay its own. A relative path of the peer's is not
    ///   the peer's.
    /// - Also as root it has no capabilities, since the system does not tell which a
    ///   peer has: it reads what root's files let root read.
    /// - Opening a FIFO that nobody writes to blocks for as long as that is so. At
    ///   most [`IMPERSONATIONS`] threads at once act as one user; more wait until
    ///   one of them ends.
    ///
    /// # Errors
    ///
    /// See [`ImpersonateError`]; with any of them `f` has not run.
    ///
    /// # Panics
    ///
    /// As `f` does.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before `f` has begun, `f` does not run. Otherwise `f` runs to
    /// its end and its result is dropped.
    pub async fn impersonate<T, F>(&self, f: F) -> Result<T, ImpersonateError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let caller = self.connected.credentials()?;
        let turn = turn_of(caller.uid()).await;
        let (send, outcome) = oneshot::channel();
        let (claim, cancel) = claim();
        let work = move || {
            // The last step before `f`: whoever gave up before this point has its word.
            let outcome = sys::run_as(&caller, || claim.take().then(f));
            drop(turn);
            // Nobody waits if the future was dropped.
            let _ = send.send(outcome);
        };
        let started = thread::Builder::new().name("impersonate".to_owned()).spawn(work);
        started.map_err(|source| ImpersonateError::System { what: "no thread could be had", source })?;
        let outcome = outcome.await.expect("the thread hands over what came of it, or aborts the process");
        drop(cancel);
        match outcome? {
            Ok(given) => Ok(given.expect("`f` is left out only where this future was dropped")),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Decides between the thread that begins a closure and the future that waits for it, and may
/// be dropped first.
fn claim() -> (Claim, CancelOnDrop) {
    let is_taken = Arc::new(AtomicBool::new(false));
    (Claim(Arc::clone(&is_taken)), CancelOnDrop(is_taken))
}

/// The thread's half.
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the closure may begin. If so, the future has not been dropped yet.
    fn take(self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// The future's half. Once it has been dropped the closure does not begin any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until one more thread may act as this user. Nobody else waits for its threads,
/// however many it keeps busy.
async fn turn_of(uid: u32) -> OwnedSemaphorePermit {
    turns_of(uid).acquire_owned().await.expect("nobody closes it")
}

fn turns_of(uid: u32) -> Arc<Semaphore> {
    static TURNS: Mutex<BTreeMap<u32, Weak<Semaphore>>> = Mutex::new(BTreeMap::new());
    let mut all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    // Of users that nobody acts as nothing is kept.
    all.retain(|_, turns| turns.strong_count() > 0);
    if let Some(turns) = all.get(&uid).and_then(Weak::upgrade) {
        return turns;
    }
    let turns = Arc::new(Semaphore::new(IMPERSONATIONS));
    all.insert(uid, Arc::downgrade(&turns));
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_does_not_begin_after_its_future_was_dropped() {
        let (claim, cancel) = claim();
        drop(cancel);
        assert!(!claim.take());
    }

    #[test]
    fn closure_begins_while_its_future_waits() {
        let (claim, _cancel) = claim();
        assert!(claim.take());
    }
}
