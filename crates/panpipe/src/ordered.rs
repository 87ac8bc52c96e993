//! Ordered methods: their calls run one after the other on each connection.
//!
//! A call gets its ticket when it arrives, before it waits for anything. Its handler begins when
//! the ticket is the oldest of its connection, and the ticket is given back when the handler is
//! dropped, however the call ended.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;

/// The order of a service's calls, for each connection by itself.
#[derive(Default)]
pub struct CallOrder(Arc<Mutex<HashMap<u64, Queue>>>);

/// The calls of one connection that have not ended, the oldest first.
#[derive(Default)]
struct Queue {
    next: u64,
    tickets: VecDeque<(u64, Option<Waker>)>,
}

impl CallOrder {
    /// Puts a call that has arrived behind those that have arrived before.
    #[must_use]
    pub fn enter(&self, connection: u64) -> OrderTicket {
        let mut queues = self.lock();
        let queue = queues.entry(connection).or_default();
        let number = queue.next;
        queue.next += 1;
        queue.tickets.push_back((number, None));
        OrderTicket { order: CallOrder(Arc::clone(&self.0)), connection, number }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CallOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallOrder")
    }
}

/// A call's place in the order. The next call begins when the ticket is dropped.
pub struct OrderTicket {
    order: CallOrder,
    connection: u64,
    number: u64,
}

impl fmt::Debug for OrderTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderTicket").field("number", &self.number).finish_non_exhaustive()
    }
}

impl OrderTicket {
    /// Ready when all calls that have arrived before have ended.
    fn poll_first(&self, waker: &Waker) -> Poll<()> {
        if self.is_first(None).0 {
            return Poll::Ready(());
        }
        // Wakers are cloned, and dropped, outside of the lock.
        let (is_first, spent) = self.is_first(Some(waker.clone()));
        drop(spent);
        if is_first { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the call is the oldest. If not, `waker` takes the place of the one that is
    /// returned.
    fn is_first(&self, waker: Option<Waker>) -> (bool, Option<Waker>) {
        let mut queues = self.order.lock();
        let Some(queue) = queues.get_mut(&self.connection) else { return (true, waker) };
        if queue.tickets.front().is_none_or(|(number, _)| *number == self.number) {
            return (true, waker);
        }
        let Some(waker) = waker else { return (false, None) };
        match queue.tickets.binary_search_by_key(&self.number, |(number, _)| *number) {
            Ok(at) => (false, queue.tickets[at].1.replace(waker)),
            Err(_) => (true, Some(waker)),
        }
    }

    /// Removes the call. Returns its own waker, and that of the call that is the oldest now.
    fn leave(&mut self) -> [Option<Waker>; 2] {
        let mut queues = self.order.lock();
        let Some(queue) = queues.get_mut(&self.connection) else { return [None, None] };
        let Ok(at) = queue.tickets.binary_search_by_key(&self.number, |(number, _)| *number) else {
            return [None, None];
        };
        let own = queue.tickets.remove(at).and_then(|(_, waker)| waker);
        let next = if at == 0 { queue.tickets.front_mut().and_then(|(_, waker)| waker.take()) } else { None };
        if queue.tickets.is_empty() {
            queues.remove(&self.connection);
        }
        [own, next]
    }
}

impl Drop for OrderTicket {
    fn drop(&mut self) {
        let [own, next] = self.leave();
        drop(own);
        if let Some(next) = next {
            next.wake();
        }
    }
}

pin_project! {
    /// A handler that begins in its order.
    pub struct Ordered<F> {
        // Before the ticket, so that all of the handler is gone when the next one begins.
        #[pin]
        handler: F,
        ticket: Option<OrderTicket>,
        begun: bool,
    }
}

impl<F> Ordered<F> {
    /// Has `handler` begin when the calls before have ended.
    #[must_use]
    pub fn new(ticket: OrderTicket, handler: F) -> Self {
        Ordered { handler, ticket: Some(ticket), begun: false }
    }
}

impl<F> fmt::Debug for Ordered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("ticket", &self.ticket).field("begun", &self.begun).finish()
    }
}

impl<F: Future> Future for Ordered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !*this.begun {
            if let Some(ticket) = this.ticket {
                ready!(ticket.poll_first(cx.waker()));
            }
            *this.begun = true;
        }
        let output = ready!(this.handler.poll(cx));
        *this.ticket = None;
        Poll::Ready(output)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::woken::Woken;

    fn poll<F: Future>(future: &mut Pin<Box<F>>, woken: &Arc<Woken>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(&Arc::clone(woken).into()))
    }

    #[test]
    fn a_call_begins_when_the_one_before_has_ended() {
        let order = CallOrder::default();
        let [first, second, other] = [order.enter(1), order.enter(1), order.enter(2)];
        let woken = Arc::new(Woken::default());
        let mut first = Box::pin(Ordered::new(first, pending::<()>()));
        let mut second = Box::pin(Ordered::new(second, async { 2 }));
        let mut other = Box::pin(Ordered::new(other, async { 3 }));
        assert_eq!(poll(&mut second, &woken), Poll::Pending);
        assert_eq!(poll(&mut first, &woken), Poll::Pending);
        // Another connection has an order of its own.
        assert_eq!(poll(&mut other, &woken), Poll::Ready(3));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut second, &woken), Poll::Ready(2));
        assert!(order.lock().is_empty());
    }

    #[test]
    fn a_call_that_gives_up_while_it_waits_holds_up_no_other() {
        let order = CallOrder::default();
        let [first, second, third] = [order.enter(1), order.enter(1), order.enter(1)];
        let woken = Arc::new(Woken::default());
        let mut third = Box::pin(Ordered::new(third, async { 3 }));
        assert_eq!(poll(&mut third, &woken), Poll::Pending);
        drop(second);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert_eq!(poll(&mut third, &woken), Poll::Pending);
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut third, &woken), Poll::Ready(3));
    }

    #[test]
    fn a_handler_is_gone_when_the_next_one_is_woken() {
        struct Waits(Arc<Woken>, Arc<AtomicUsize>);
        impl Drop for Waits {
            fn drop(&mut self) {
                self.1.store(self.0.0.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        let order = CallOrder::default();
        let [first, second] = [order.enter(1), order.enter(1)];
        let (woken, at_drop) = (Arc::new(Woken::default()), Arc::new(AtomicUsize::new(9)));
        let waits = Waits(Arc::clone(&woken), Arc::clone(&at_drop));
        let mut first = Box::pin(Ordered::new(first, async move {
            let _waits = waits;
            pending::<()>().await;
        }));
        let mut second = Box::pin(Ordered::new(second, async {}));
        assert!(poll(&mut first, &woken).is_pending() && poll(&mut second, &woken).is_pending());
        drop(first);
        assert_eq!((at_drop.load(Ordering::Relaxed), woken.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn a_waker_that_uses_the_order_meets_no_lock() {
        struct Enters(CallOrder);
        impl Wake for Enters {
            fn wake(self: Arc<Self>) {
                drop(self.0.enter(1));
            }
        }
        impl Drop for Enters {
            fn drop(&mut self) {
                drop(self.0.enter(1));
            }
        }
        let order = CallOrder::default();
        let waker = || Waker::from(Arc::new(Enters(CallOrder(Arc::clone(&order.0)))));
        let [first, second] = [order.enter(1), order.enter(1)];
        assert!(second.poll_first(&waker()).is_pending());
        assert!(second.poll_first(&waker()).is_pending());
        drop(first);
        assert!(second.poll_first(&waker()).is_ready());
        drop(second);
        assert!(order.lock().is_empty());
    }
}
