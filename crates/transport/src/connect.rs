//! The client's way to a name.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::access::{Access, Reach};
use crate::blocking::BlockingStream;
use crate::error::{ConnectError, NameError};
use crate::limits::{CONNECT_PAUSE, CONNECT_PAUSE_MOST};
use crate::name::PipeName;
use crate::stream::PipeStream;
use crate::sys;

/// Connects to the server that listens on `name`, when the result is awaited.
///
/// The server has to be of this process's own user, or of the user whose name it is
/// ([`PipeName::of_user`]), unless others are [trusted](Connect::trust); that is
/// checked before a byte is sent.
pub fn connect(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Connect {
    Connect { name: name.try_into().map_err(Into::into), wait: Duration::ZERO, trust: None }
}

/// A connection to be made, made by awaiting it. Cancel safe.
#[derive(Debug)]
#[must_use = "a connection is made when this is awaited"]
pub struct Connect {
    name: Result<PipeName, NameError>,
    wait: Duration,
    /// `None`: the user whose name it is.
    trust: Option<Access>,
}

impl Connect {
    /// Waits this long for a server, rather than failing when there is none.
    /// Waiting takes no CPU.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Whose server may answer, rather than this process's own user or the one whose
    /// name it is.
    pub fn trust(mut self, access: Access) -> Self {
        self.trust = Some(access);
        self
    }

    /// Connects now, on this thread and without a runtime; it sleeps between two tries,
    /// where it is to [wait](Self::wait).
    ///
    /// # Errors
    ///
    /// As when it is awaited; on Windows always. A rule that has to be
    /// [waited for](Access::when_async) trusts nobody here.
    ///
    /// ```no_run
    /// # fn run() -> Result<(), panpipe_transport::ConnectError> {
    /// let stream = panpipe_transport::connect("acme.store").blocking()?;
    /// println!("{} serves", stream.peer());
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking(self) -> Result<BlockingStream, ConnectError> {
        let Connect { name, wait, trust } = self;
        let name = name?;
        let expect_owner = expects_owner(trust.as_ref());
        // The thread sleeps by the system's clock, in a runtime too.
        let mut tries = Tries::new(wait, Instant::now);
        loop {
            match sys::connect_blocking(name.place(), expect_owner) {
                Ok((read, write, peer)) => {
                    if let Some(access) = trust {
                        access.check_now(&peer).map_err(|denied| ConnectError::Untrusted {
                            path: name.place().to_string(),
                            denied,
                        })?;
                    }
                    return Ok(BlockingStream::new(read, write, peer));
                }
                Err(error) => std::thread::sleep(tries.pause(&name, error)?),
            }
        }
    }

    async fn run(self) -> Result<PipeStream, ConnectError> {
        let Connect { name, wait, trust } = self;
        let name = name?;
        let expect_owner = expects_owner(trust.as_ref());
        let mut tries = Tries::new(wait, || tokio::time::Instant::now().into_std());
        loop {
            match sys::connect(name.place(), expect_owner) {
                Ok((read, write, peer)) => {
                    let stream = PipeStream::new(read, write, peer);
                    if let Some(access) = trust {
                        let path = || name.place().to_string();
                        let checked = access.check(&stream.peer()).await;
                        checked.map_err(|denied| ConnectError::Untrusted { path: path(), denied })?;
                    }
                    return Ok(stream);
                }
                Err(error) => sleep(tries.pause(&name, error)?).await,
            }
        }
    }
}

/// Whether the server has to be that of the user whose name it is: where the system tells
/// no user it can tell an owner.
fn expects_owner(trust: Option<&Access>) -> bool {
    trust.is_none_or(|access| access.reach() == Reach::Owner)
}

/// How often it is tried, and when the next time.
struct Tries {
    wait: Duration,
    now: fn() -> Instant,
    /// A wait past the end of the clock never ends.
    end: Option<Instant>,
    pause: Duration,
}

impl Tries {
    fn new(wait: Duration, now: fn() -> Instant) -> Self {
        Tries { wait, now, end: now().checked_add(wait), pause: CONNECT_PAUSE }
    }

    /// How long to wait before the next try, if there is one behind this error.
    fn pause(&mut self, name: &PipeName, error: ConnectError) -> Result<Duration, ConnectError> {
        if !error.may_pass() || self.wait.is_zero() {
            return Err(error);
        }
        let left = self.end.map_or(Duration::MAX, |end| end.saturating_duration_since((self.now)()));
        if left.is_zero() {
            let path = name.place().to_string();
            return Err(ConnectError::TimedOut { path, waited: self.wait, last: Box::new(error) });
        }
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(CONNECT_PAUSE_MOST);
        Ok(pause)
    }
}

impl IntoFuture for Connect {
    type Output = Result<PipeStream, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
