//! The plugin's own end: its `main`.

use std::process::ExitCode;

use crate::child::{ParentError, serve_host};
use crate::client::ServiceClient;
use crate::service::{Serve, ServiceImpl};

/// The `main` of a plugin: serves the host that has started this process until it is
/// told to end.
///
/// `make` is given the client of what the host offers and makes the service that the
/// host calls; the client of a host that offers nothing is
/// [`NoService`](crate::NoService). A runtime of one thread is made for it; to have
/// another, call [`plugin_main_async`].
///
/// Run by hand, the program says what it is, and fails. `cookie` is the environment
/// variable of the host's [`PluginBuilder::cookie`](crate::PluginBuilder::cookie).
///
/// ```no_run
/// use std::process::ExitCode;
///
/// # #[panpipe::service]
/// # pub trait Host { async fn log(&self, line: String); }
/// # #[panpipe::service]
/// # pub trait Formatter { async fn format(&self, source: String) -> String; }
/// struct Spaces { host: HostClient }
///
/// impl Formatter for Spaces {
///     async fn format(&self, source: String) -> String {
///         let _ = self.host.log(format!("{} bytes to format", source.len())).await;
///         source.split_whitespace().collect::<Vec<_>>().join(" ")
///     }
/// }
///
/// fn main() -> ExitCode {
///     panpipe::plugin_main("ACME_PLUGIN", |host: HostClient| Spaces { host }.serve())
/// }
/// ```
pub fn plugin_main<C, I>(cookie: &str, make: impl FnOnce(C) -> Serve<I>) -> ExitCode
where
    C: ServiceClient,
    I: ServiceImpl,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("this plugin cannot run, the system has no event loop for it: {error}");
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(plugin_main_async(cookie, make));
    // What a handler has left blocking is not waited for: the host waits for this.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The same as a future, for a plugin that has a runtime of its own.
///
/// # Errors
///
/// When no host has started this process, or the connection to it breaks.
pub async fn plugin_main_async<C, I>(
    cookie: &str,
    make: impl FnOnce(C) -> Serve<I>,
) -> Result<(), ParentError>
where
    C: ServiceClient,
    I: ServiceImpl,
{
    serve_host(cookie, make).await
}
