//! Moves the items of a stream that has been sent onto its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Source;
use super::item::{self, ItemDraft};
use crate::guarded::caught;
use crate::limits;
use crate::link::Link;
use crate::session::{ItemError, Lost, StreamEnd};
use crate::type_check::CheckedItems;

/// The task of one stream.
pub(super) struct Pump<T> {
    link: Arc<Link>,
    port: u64,
    /// Nothing once the stream is over.
    source: Option<Source<T>>,
    /// How many items of the source were lost, as far as the reader is told.
    told: Lost,
    next: Option<Next<T>>,
    /// The same item, while it waits for credit or for room in the queue.
    draft: ItemDraft,
    checked: CheckedItems,
}

/// An item that is being sent.
struct Next<T> {
    item: T,
    /// How often the source had dropped items for newer ones when this one was taken.
    overflows: u64,
}

// No part of it is pinned in place.
impl<T> Unpin for Pump<T> {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Pump<T> {
    pub(super) fn start(link: Arc<Link>, port: u64, source: Source<T>) {
        if let Source::Channel(receiver) = &source {
            receiver.goes_over(&link, port);
        }
        // What was lost before is known to those who have read it; what is not known is to be
        // told as that.
        let told = source.lost().known().map_or(Lost::NONE, |_| source.lost());
        let pump = Pump {
            link: Arc::clone(&link),
            port,
            source: Some(source),
            told,
            next: None,
            draft: ItemDraft::default(),
            checked: CheckedItems::default(),
        };
        link.executor().spawn(pump);
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        let Pump { link, port, source, told, next, draft, checked } = self;
        let Some(source) = source else { return Poll::Ready(StreamEnd::Finished) };
        // The item is older than those that the source has dropped for newer ones since.
        if let Some(stale) = next.take_if(|next| next.overflows != source.overflows()) {
            link.lose_items(*port, Lost::ONE);
            let _ = caught(|| drop((stale, std::mem::take(draft))));
        }
        let mut turn = 0;
        loop {
            if let Some(Next { item, .. }) = next {
                // Where another thread writes them out there is always room.
                if turn >= limits::STREAM_TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let encode = |codec, out: &mut Vec<u8>| item::encode(checked, codec, &*item, out);
                let sent = || draft.poll_send(link, *port, false, cx.waker(), encode);
                match caught(sent) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(Ok(size))) => {
                        turn += size;
                        *next = None;
                    }
                    Ok(Poll::Ready(Err(ItemError::Closed))) => return Poll::Ready(StreamEnd::Finished),
                    Ok(Poll::Ready(Err(ItemError::Unsendable(end)))) => return Poll::Ready(end),
                    Err(_) => return Poll::Ready(StreamEnd::Panicked),
                }
            }
            let polled = caught(|| source.poll_next(cx));
            // Asked after the item was taken: asked before, one that has just come would be taken
            // for one that is older than those dropped for it.
            let overflows = source.overflows();
            link.lose_items(*port, source.lost().since(*told));
            *told = source.lost();
            match polled {
                Ok(Poll::Ready(Some(Ok(item)))) => *next = Some(Next { item, overflows }),
                Ok(Poll::Ready(Some(Err(error)))) => return Poll::Ready(error.into()),
                Ok(Poll::Ready(None)) => return Poll::Ready(StreamEnd::Finished),
                Ok(Poll::Pending) => {
                    if turn > 0 {
                        link.send_queued();
                    }
                    return link.poll_stopped(*port, cx.waker()).map(|()| StreamEnd::Finished);
                }
                Err(_) => return Poll::Ready(StreamEnd::Panicked),
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Future for Pump<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.poll_end(cx).map(|end| this.end(&end))
    }
}

impl<T> Pump<T> {
    fn end(&mut self, end: &StreamEnd) {
        // What made the items goes first: the reader may count on that.
        if let Some(source) = self.source.take() {
            // The runtime drops the tasks of a connection in any order: the connection may have
            // ended before this one.
            let is_cut_off = matches!(end, StreamEnd::Disconnected) || self.link.is_over();
            let accepted = match &source {
                Source::Channel(receiver) if is_cut_off => {
                    receiver.close() + usize::from(self.next.is_some())
                }
                _ => 0,
            };
            (self.next, self.draft) = (None, ItemDraft::default());
            // A panic of the user's own drop is not the session's.
            let _ = caught(|| drop(source));
            self.link.end_writing(self.port, end);
            self.link.report_lost(accepted as u64);
        }
    }
}

impl<T> Drop for Pump<T> {
    fn drop(&mut self) {
        // Only a runtime that shuts down drops a stream that is not over.
        self.end(&StreamEnd::Disconnected);
    }
}
