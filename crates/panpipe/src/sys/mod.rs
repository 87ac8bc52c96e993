//! What servers and hosts need of the system that differs from one to the other.
//! Nothing outside this folder is unsafe or asks which system it is on.
//!
//! Each system gives:
//! - `told_to_end()`: ready when the process is told to end; `ready()` and
//!   `stopping()`: what the service manager is told, if there is one;
//! - `Confinement`: what a plugin's process is held to; `spawn(…)`: starts it where it
//!   dies with this process; `Family`: it and its own children, which can be waited
//!   for, told to end, and killed;
//! - `on_told_to_end(…)`, `exits_within(…)`: the same, and a child's end, without a runtime;
//! - `is_executable(…)`.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;
