//! The client's way to a name.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::access::{Access, Reach};
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

    async fn run(self) -> Result<PipeStream, ConnectError> {
        let name = self.name?;
        // Where the system tells no user it can tell an owner.
        let expect_owner = self.trust.as_ref().is_none_or(|access| access.reach() == Reach::Owner);
        // A wait past the end of the clock is a wait for ever.
        let end = Instant::now().checked_add(self.wait);
        let mut pause = CONNECT_PAUSE;
        loop {
            let error = match sys::connect(name.place(), expect_owner) {
                Ok((read, write, peer)) => {
                    let stream = PipeStream::new(read, write, peer);
                    if let Some(access) = self.trust {
                        let path = || name.place().to_string();
                        let checked = access.check(&stream.peer()).await;
                        checked.map_err(|denied| ConnectError::Untrusted { path: path(), denied })?;
                    }
                    return Ok(stream);
                }
                Err(error) if error.may_pass() && !self.wait.is_zero() => error,
                Err(error) => return Err(error),
            };
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                let path = name.place().to_string();
                return Err(ConnectError::TimedOut { path, waited: self.wait, last: Box::new(error) });
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MOST);
        }
    }
}

impl IntoFuture for Connect {
    type Output = Result<PipeStream, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
