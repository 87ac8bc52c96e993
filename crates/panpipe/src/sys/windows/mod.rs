//! Windows: ctrl-c, job objects. A hook before a program runs is Unix's alone.

mod family;
mod program;
mod service;
mod spawn;

pub(crate) use family::Family;
pub(crate) use program::is_executable;
pub(crate) use service::{ready, stopping, told_to_end};
pub(crate) use spawn::{ChildLimits, Hook, confine, spawn};
