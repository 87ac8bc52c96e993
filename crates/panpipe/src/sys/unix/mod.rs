//! Unix: signals, process groups, systemd.

mod child_process;
mod confinement;
mod guardian;
mod per_process;
mod program;
mod service;
mod signals;
mod spawn;
mod watched_child;

pub(crate) use child_process::ChildProcess;
pub(crate) use confinement::Confinement;
pub(crate) use program::{FileIdentity, check_null_device, file_identity, is_executable};
pub(crate) use service::{EndSignals, ready, stopping};
pub(crate) use signals::on_told_to_end;
pub(crate) use spawn::spawn;
pub(crate) use watched_child::{ChildEnd, WatchedChild};
