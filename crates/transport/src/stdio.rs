//! This process's standard streams as a stream of bytes.

use std::io;

use crate::peer::Peer;
use crate::stream::PipeStream;
use crate::sys;

/// Takes up the standard input and output, for a process that was started to
/// talk over them.
///
/// From here on they are this stream's alone: what any part of the process
/// prints goes to the standard error, where it can do no harm, and what it reads
/// from the standard input is empty. The file descriptions that other processes
/// share are left as they are.
///
/// # Errors
///
/// When the standard streams are no pipes or sockets, as in a terminal, and when
/// they have been taken up before.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn stdio() -> io::Result<PipeStream> {
    let (read, write) = sys::take_stdio()?;
    Ok(PipeStream::new(read, write, Peer::unknown()))
}
