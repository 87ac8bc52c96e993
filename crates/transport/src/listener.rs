//! The server's end of a name.

use std::io;

use tokio::task::yield_now;

use crate::access::Access;
use crate::checks::{Check, Checks};
use crate::error::{BindError, NameError};
use crate::name::PipeName;
use crate::stream::PipeStream;
use crate::sys;

/// Listens on a name.
///
/// Only those reach it who may: processes of the same user, unless it was
/// [bound for others](Self::bind_for). Dropping it frees the name, and turns away those
/// who wait to be accepted; [`retire`](Self::retire) frees the name alone. On Windows
/// the connections that it accepted hold the name too, until they have ended.
///
/// Where its socket's file is removed while it listens, as by a program that cleans /tmp, it
/// binds the name again the next time that it is asked for a client (on Linux, by inotify), and
/// says so in the log.
///
/// # Started by a service manager
///
/// A socket that systemd has bound to the name's path and passed on (`LISTEN_FDS`) is
/// taken up, rather than another one bound; each once. It is the manager's: it keeps
/// its mode and its name when this ends. A client that had connected before this
/// process listened is told by the system that the manager serves: one of another
/// user's than the manager has to [trust](crate::Connect::trust) both.
#[derive(Debug)]
pub struct Listener {
    name: PipeName,
    access: Access,
    checks: Checks,
    listener: sys::NamedListener,
}

impl Listener {
    /// Takes a name, for processes of the same user. A name whose server has died is
    /// taken over; one that is in use, or at which something else stands, is not.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the path and says what to do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Result<Self, BindError> {
        Listener::bind_for(name, Access::same_user())
    }

    /// Takes a name, for whoever may use it. Where the pipe is and who can open it
    /// follows from that: see [`PipeName`].
    ///
    /// # Errors
    ///
    /// [`BindError`] names the path and says what to do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind_for(
        name: impl TryInto<PipeName, Error: Into<NameError>>,
        access: Access,
    ) -> Result<Self, BindError> {
        let name = name.try_into().map_err(Into::into)?;
        let listener = sys::NamedListener::bind(name.place(), access.reach())?;
        Ok(Listener { name, access, checks: Checks::default(), listener })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Who may use it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Waits for a client that may use the pipe. Others are dropped, without a word.
    ///
    /// A rule that takes long ([`Access::when_async`]) holds up whoever comes after:
    /// where that matters, use [`accept_any`](Self::accept_any).
    ///
    /// Cancel safe: no client is lost.
    ///
    /// # Errors
    ///
    /// What the system says, mostly that there are too many open files; the
    /// listener goes on and may be asked again, after a pause.
    pub async fn accept(&self) -> io::Result<PipeStream> {
        loop {
            let check = match self.checks.take() {
                Some(check) => check,
                None => {
                    let (read, write, peer) = self.listener.accept().await?;
                    Check::begin(PipeStream::accepted(read, write, peer), &self.access)
                }
            };
            if let Some(stream) = self.checks.finish(check).await {
                return Ok(stream);
            }
            // Those who may not come could come without a pause.
            yield_now().await;
        }
    }

    /// Waits for any client, also one that may not use the pipe: for a server that
    /// turns away in words. It must ask [`access`](Self::access) itself.
    ///
    /// Cancel safe: no client is lost.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_any(&self) -> io::Result<PipeStream> {
        if let Some(check) = self.checks.take() {
            return Ok(check.give_up());
        }
        let (read, write, peer) = self.listener.accept().await?;
        Ok(PipeStream::accepted(read, write, peer))
    }

    /// Frees the name, so that a successor can take it, and keeps those clients who
    /// have connected and wait to be accepted.
    ///
    /// ```
    /// use panpipe_transport::{Listener, connect};
    ///
    /// # #[cfg(unix)]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc.retire.{}", std::process::id());
    /// let listener = Listener::bind(&name)?;
    /// let early = connect(&name).await?;
    /// let mut retired = listener.retire();
    /// let successor = Listener::bind(&name)?;
    /// while let Some(client) = retired.accept().await? {
    ///     println!("{} had come before", client.peer());
    /// }
    /// # drop((early, successor));
    /// # Ok(())
    /// # }
    /// # #[cfg(windows)]
    /// # fn main() {}
    /// ```
    #[must_use = "those who wait are turned away when this is dropped"]
    pub fn retire(self) -> Retired {
        Retired { access: self.access, checks: self.checks, listener: self.listener.retire() }
    }
}

/// The clients that a [`Listener`] had not accepted when it gave up its name.
///
/// There are none where a service manager keeps the socket, because its next server
/// accepts them, and none on Windows.
#[derive(Debug)]
pub struct Retired {
    access: Access,
    checks: Checks,
    listener: sys::RetiredListener,
}

impl Retired {
    /// The next client that waits and may use the pipe; `None` once there is none.
    /// Never waits for one. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`]: it may be asked again, after a pause.
    pub async fn accept(&mut self) -> io::Result<Option<PipeStream>> {
        loop {
            let check = match self.checks.take() {
                Some(check) => check,
                None => match self.listener.accept()? {
                    Some((read, write, peer)) => {
                        Check::begin(PipeStream::accepted(read, write, peer), &self.access)
                    }
                    None => return Ok(None),
                },
            };
            if let Some(stream) = self.checks.finish(check).await {
                return Ok(Some(stream));
            }
        }
    }

    /// The next client that waits, also one that may not use the pipe.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn accept_any(&mut self) -> io::Result<Option<PipeStream>> {
        if let Some(check) = self.checks.take() {
            return Ok(Some(check.give_up()));
        }
        let accepted = self.listener.accept()?;
        Ok(accepted.map(|(read, write, peer)| PipeStream::accepted(read, write, peer)))
    }
}
