//! A service that tells which trace its calls belong to.

use std::sync::Mutex;

/// Tells of traces.
#[panpipe::service]
pub trait Tracer {
    /// The trace of this very call, as a `traceparent`.
    async fn seen(&self) -> Option<String>;
    /// The same of a call that the server of that name is asked for in turn.
    async fn through(&self, name: String) -> Option<String>;
    /// Remembers its trace.
    #[oneway]
    async fn note(&self);
    /// What was remembered last.
    async fn noted(&self) -> Option<String>;
    /// Logs, waits for its turn, and logs again.
    async fn log(&self);
    /// Hands out a client of this very service.
    async fn pass(&self) -> TracerClient;
    /// Fails with an error of its own.
    async fn fail(&self) -> Result<(), String>;
}

/// The implementation.
#[derive(Debug, Default)]
pub struct Tracing {
    noted: Mutex<Option<String>>,
}

fn seen() -> Option<String> {
    panpipe::call::trace().map(|trace| trace.to_string())
}

impl Tracer for Tracing {
    async fn seen(&self) -> Option<String> {
        tokio::task::yield_now().await;
        seen()
    }

    async fn through(&self, name: String) -> Option<String> {
        TracerClient::connect(name).await.ok()?.seen().await.ok()?
    }

    async fn note(&self) {
        *self.noted.lock().expect("nobody panics while holding it") = seen();
    }

    async fn noted(&self) -> Option<String> {
        self.noted.lock().expect("nobody panics while holding it").clone()
    }

    async fn log(&self) {
        tracing::info!("before");
        tokio::task::yield_now().await;
        tracing::info!("after");
    }

    async fn pass(&self) -> TracerClient {
        TracerClient::offer(Tracing::default().serve())
    }

    async fn fail(&self) -> Result<(), String> {
        Err("as it was asked to".to_owned())
    }
}
