//! System calls that this process can do without, and that the kernel refuses.
//!
//! An old kernel answers ENOSYS, EINVAL or EOPNOTSUPP. A filter answers what its author chose:
//! container runtimes and sandboxes use EPERM, EACCES and ENOSYS for calls that they do not know.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// Whether the kernel refused a system call, or a flag of one, whatever its arguments were.
///
/// To be asked only of calls for which EPERM and EACCES have no other meaning.
#[cold]
pub(super) fn is_refused(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP)
}

/// A system call that is used until the kernel refuses it.
#[derive(Debug)]
pub(super) struct OptionalCall {
    name: &'static str,
    /// What this process does instead, for the log.
    instead: &'static str,
    is_refused: AtomicBool,
}

impl OptionalCall {
    pub(super) const fn new(name: &'static str, instead: &'static str) -> Self {
        OptionalCall { name, instead, is_refused: AtomicBool::new(false) }
    }

    /// Whether to try it.
    #[inline]
    pub(super) fn is_available(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed)
    }

    /// Whether this error means that the kernel refuses the call; logged once for a process.
    #[cold]
    pub(super) fn is_refused_by(&self, errno: Errno) -> bool {
        let is_refused = is_refused(errno);
        if is_refused && !self.is_refused.swap(true, Ordering::Relaxed) {
            tracing::debug!("the kernel refuses {}: {errno}; {}", self.name, self.instead);
        }
        is_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_any_kind_is_one_and_other_errors_are_none() {
        for errno in [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP] {
            let call = OptionalCall::new("a_call", "nothing is done instead");
            assert!(call.is_available() && call.is_refused_by(errno) && !call.is_available(), "{errno}");
        }
        for errno in [Errno::AGAIN, Errno::PIPE, Errno::INTR, Errno::BADF, Errno::MFILE] {
            let call = OptionalCall::new("a_call", "nothing is done instead");
            assert!(!call.is_refused_by(errno) && call.is_available(), "{errno}");
        }
    }
}
