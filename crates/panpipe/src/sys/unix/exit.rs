//! Waiting for a child's end, for some time and without a runtime.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::clock;
use crate::limits;

/// How a child has ended, if it has within this time.
pub(crate) fn exits_within(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let start = clock::system();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // It has not been waited for: the number is its own.
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = time.saturating_sub(clock::system() - start);
        if left.is_zero() {
            return Ok(None);
        }
        match &process {
            Some(process) => {
                // A time that the system cannot say is all the time there is.
                let left = Timespec::try_from(left).ok();
                let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref());
            }
            None => thread::sleep(left.min(limits::EXIT_PAUSE)),
        }
    }
}
