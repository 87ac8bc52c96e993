//! The server's end of a name.

use std::io;

use crate::error::{BindError, NameError};
use crate::name::PipeName;
use crate::stream::PipeStream;
use crate::sys;

/// Listens on a name.
///
/// Only processes of the same user reach it. Dropping it frees the name; on Windows
/// the connections that it accepted hold the name too, until they have ended.
#[derive(Debug)]
pub struct Listener {
    name: PipeName,
    listener: sys::NamedListener,
}

impl Listener {
    /// Takes a name. A name whose server has died is taken over; one that is in
    /// use, or at which something else stands, is not.
    ///
    /// # Errors
    ///
    /// [`BindError`] names the path and says what to do.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(name: impl TryInto<PipeName, Error: Into<NameError>>) -> Result<Self, BindError> {
        let name = name.try_into().map_err(Into::into)?;
        let listener = sys::NamedListener::bind(name.place())?;
        Ok(Listener { name, listener })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &PipeName {
        &self.name
    }

    /// Waits for a client. Cancel safe: no client is lost.
    ///
    /// # Errors
    ///
    /// What the system says, mostly that there are too many open files; the
    /// listener goes on and may be asked again, after a pause.
    pub async fn accept(&self) -> io::Result<PipeStream> {
        let (read, write, peer) = self.listener.accept().await?;
        Ok(PipeStream::new(read, write, peer))
    }
}
