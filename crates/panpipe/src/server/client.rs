//! One client of a server, from its arrival to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use panpipe_transport::PipeStream;

use super::accept::say_no;
use super::admission;
use super::draining::Draining;
use super::room::Visitor;
use super::setup::ClientSetup;
use crate::hub::Membership;
use crate::link::over_pipe;
use crate::log_limit::log_limited;
use crate::session::Driver;

impl ClientSetup {
    /// The task of a client that has come.
    pub(super) fn serve(
        self: Arc<Self>,
        stream: PipeStream,
        visitor: Visitor,
        draining: Arc<Draining>,
    ) -> impl Future<Output = ()> + Send {
        Client::Coming(Box::pin(self.let_in(stream, visitor, draining)))
    }

    /// Has a client's connection run if it may call. If not it is told so.
    async fn let_in(
        self: Arc<Self>,
        stream: PipeStream,
        mut visitor: Visitor,
        draining: Arc<Draining>,
    ) -> Option<Served> {
        let peer = stream.peer();
        let allowed =
            admission::check_peer(&peer, &self.access, &mut visitor, self.limits.handshake_timeout).await;
        if let Err(refusal) = allowed {
            log_limited!(warn, %peer, "a client is refused: {refusal}");
            say_no(stream, refusal).await;
            return None;
        }
        let (prepared, membership) = self.admit(over_pipe(stream, self.config()));
        draining.add(membership.link());
        Some(Served { driver: prepared.into_parts().1, membership, _visitor: visitor })
    }
}

/// A client's task: as small as what it does, since most clients do nothing most of the
/// time.
enum Client {
    Coming(Pin<Box<dyn Future<Output = Option<Served>> + Send>>),
    Served(Served),
}

impl Future for Client {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Client::Coming(coming) = this {
            match ready!(coming.as_mut().poll(cx)) {
                Some(served) => *this = Client::Served(served),
                None => return Poll::Ready(()),
            }
        }
        match this {
            Client::Coming(_) => Poll::Pending,
            Client::Served(served) => served.poll(cx),
        }
    }
}

/// A client that has been let in.
struct Served {
    driver: Driver,
    membership: Membership,
    _visitor: Visitor,
}

impl Served {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reason = ready!(Pin::new(&mut self.driver).poll(cx));
        self.membership.end(reason);
        Poll::Ready(())
    }
}
