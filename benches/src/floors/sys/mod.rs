//! What is asked of the system without the compiler's protection.

pub(super) mod watch;
