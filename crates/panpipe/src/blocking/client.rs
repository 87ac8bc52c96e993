//! What a generated blocking client is to code that works with any.

use panpipe_transport::Peer;

use crate::client::ServiceClient;
use crate::error::CallError;
use crate::session::CloseReason;

/// A generated blocking client, for code that works with any: the client whose methods
/// wait on the thread that calls them.
///
/// It is made by the async client's `connect_blocking`, by
/// [`Connect::blocking`](crate::Connect::blocking), by
/// [`Spawn::start_blocking`](crate::Spawn::start_blocking), and by the `blocking` of a
/// client that is there already.
pub trait BlockingServiceClient: Clone + Send + Sync + Sized + 'static {
    /// The async client of the same service.
    type Async: ServiceClient<Blocking = Self>;

    /// Makes it of an async client.
    #[doc(hidden)]
    fn of_async(client: Self::Async) -> Self;

    /// The same client for async code, such as a handler, or to be passed as a value.
    fn as_async(&self) -> &Self::Async;

    /// Why the connection ended, once that has been noticed: by a call. See
    /// [`ServiceClient::close_reason`].
    fn close_reason(&self) -> Option<CloseReason> {
        self.as_async().close_reason()
    }

    /// Waits until the other side has handed every one-way call that was made before to
    /// its handler. See [`ServiceClient::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    fn flush(&self) -> Result<(), CallError> {
        self.as_async().inner().flush_blocking()
    }

    /// Waits on this thread until the connection has ended, and gives the reason. See
    /// [`ServiceClient::closed`].
    ///
    /// # Errors
    ///
    /// [`CallError::Unsupported`] where this thread is running a handler that the connection
    /// waits for.
    fn closed(&self) -> Result<CloseReason, CallError> {
        self.as_async().inner().closed_blocking()
    }

    /// Closes the connection in order, and waits on this thread for its end. See
    /// [`ServiceClient::close`].
    ///
    /// # Errors
    ///
    /// As [`closed`](Self::closed).
    fn close(&self) -> Result<(), CallError> {
        self.as_async().inner().close_blocking()
    }

    /// The process at the other end, as far as the system tells.
    fn peer(&self) -> Peer {
        self.as_async().peer()
    }

    /// The version of the service that is called. See [`ServiceClient::version`].
    fn version(&self) -> Option<u32> {
        self.as_async().version()
    }
}
