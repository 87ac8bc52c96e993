//! Unix: signals, process groups, systemd.

mod confinement;
mod exit;
mod family;
mod guardian;
mod program;
mod service;
mod signals;
mod spawn;

pub(crate) use confinement::Confinement;
pub(crate) use exit::exits_within;
pub(crate) use family::Family;
pub(crate) use program::is_executable;
pub(crate) use service::{ready, stopping, told_to_end};
pub(crate) use signals::on_told_to_end;
pub(crate) use spawn::spawn;
