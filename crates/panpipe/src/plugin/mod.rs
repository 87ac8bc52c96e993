//! Plugins: child processes as typed objects, looked after for their whole life.

mod builder;
mod error;
mod event;
mod handle;
mod instance;
mod main;
mod output;
mod process;
mod set;
mod supervisor;

pub use self::builder::PluginBuilder;
pub use self::error::PluginError;
pub use self::event::Event as PluginEvent;
pub use self::handle::Plugin;
pub use self::main::{plugin_main, plugin_main_async};
pub use self::output::Output;
pub use self::set::{PluginChange, Plugins};
