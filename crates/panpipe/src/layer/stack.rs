//! The layers of a server or a client, one around the other.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use tower_layer::Layer;
use tower_service::Service;

use super::{Call, Next, Outcome, Work};

/// What a server or a client takes for a layer: every [`Layer`] of [`Next`] whose
/// service takes a [`Call`] and gives an [`Outcome`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no layer of calls",
    note = "it has to be a `tower` layer of `panpipe::layer::Next`, whose service takes a `panpipe::layer::Call`, gives an `Outcome`, and is `Clone + Send + 'static`, with an error that is `Into<Box<dyn Error + Send + Sync>>` and a future that is `Send + 'static`"
)]
pub trait CallLayer {
    /// Puts the layer around what is inside of it.
    #[doc(hidden)]
    fn around(&self, next: Next) -> Next;
}

impl<L> CallLayer for L
where
    L: Layer<Next>,
    L::Service: Service<Call, Response = Outcome> + Clone + Send + 'static,
    <L::Service as Service<Call>>::Error: Into<Box<dyn Error + Send + Sync>>,
    <L::Service as Service<Call>>::Future: Send + 'static,
{
    fn around(&self, next: Next) -> Next {
        Next::layer(self.layer(next))
    }
}

/// Layers around layers. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Stack {
    /// Locked to be cloned from: services are asked to be `Send`, not to be `Sync`.
    outermost: Arc<Mutex<Next>>,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stack")
    }
}

impl Stack {
    /// One layer more, around all others.
    pub(crate) fn of(layer: impl CallLayer, inner: Option<&Stack>) -> Self {
        let next = inner.map_or_else(Next::default, Stack::next);
        Stack { outermost: Arc::new(Mutex::new(layer.around(next))) }
    }

    fn next(&self) -> Next {
        self.outermost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Passes a call through the layers.
    pub(crate) fn run(&self, call: Call) -> Work {
        let mut next = self.next();
        Box::pin(async move {
            poll_fn(|cx| next.poll_ready(cx)).await?;
            Ok(next.call(call).await?)
        })
    }
}
