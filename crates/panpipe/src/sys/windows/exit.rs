//! Waiting for a child's end, for some time and without a runtime.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::limits;

/// How a child has ended, if it has within this time.
pub(crate) fn exits_within(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let start = clock::system();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = time.saturating_sub(clock::system() - start);
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(left.min(limits::EXIT_PAUSE));
    }
}
