//! The host's own sandbox for a plugin.

use std::io;
use std::sync::Arc;

use crate::plugin::PluginBuilder;

impl PluginBuilder {
    /// Runs `hook` in each process of the plugin, as the last thing before its program
    /// but for one `fcntl` for each of its pipes: to give up rights, enter namespaces,
    /// set a seccomp filter. An error of the hook's is one of the start. Unix only.
    ///
    /// # Safety
    ///
    /// The hook runs between fork and exec, in a copy of a process with several threads:
    /// it must do nothing but what is safe in a signal handler. It must not allocate,
    /// lock or panic. See [`pre_exec`](std::os::unix::process::CommandExt::pre_exec).
    pub unsafe fn before_exec(mut self, hook: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.set_before_exec(Arc::new(hook));
        self
    }
}
