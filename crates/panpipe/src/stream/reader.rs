//! The reading end of a stream whose items come over a connection.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use panpipe_transport::buffer::FrameBuf;
use serde::de::DeserializeOwned;
use tokio::task::coop;

use super::item;
use crate::carried::{Claimed, Claims};
use crate::codec::{Codec, Decoder};
use crate::error::StreamError;
use crate::link::Link;
use crate::session::{Batch, Lost, RawItem};

type Decode<T> = fn(Decoder, &[u8], Option<Box<Claims>>) -> Result<T, String>;
type DecodeAlone<T> = fn(Decoder, FrameBuf, Option<Box<Claims>>) -> Result<T, String>;

/// Decodes items as they are read.
pub(super) struct PortReader<T> {
    /// Nothing once the stream is over.
    link: Option<Arc<Link>>,
    port: u64,
    decoder: Decoder,
    /// How many items the writer keeps unread at most, if it says so.
    credit: Option<u64>,
    /// How many items were lost before the one that was read last.
    lost: Lost,
    /// Items that have been taken off the session together.
    batch: Batch,
    decode: Decode<T>,
    decode_alone: DecodeAlone<T>,
}

impl<T> PortReader<T> {
    pub(super) fn new(claimed: Claimed) -> Self
    where
        T: DeserializeOwned + 'static,
    {
        let Claimed { link, codec, port, items, .. } = claimed;
        let mut reader = PortReader::of_port(link, codec, port);
        reader.credit = (items > 0).then_some(items);
        reader
    }

    pub(super) fn of_port(link: Arc<Link>, codec: Codec, port: u64) -> Self
    where
        T: DeserializeOwned + 'static,
    {
        PortReader {
            port,
            decoder: link.decoder(codec),
            link: Some(link),
            credit: None,
            lost: Lost::NONE,
            batch: Batch::default(),
            decode: item::decode::<T>,
            decode_alone: item::decode_alone::<T>,
        }
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost
    }

    pub(super) fn credit(&self) -> Option<u64> {
        self.credit
    }

    /// The connection, until the stream is over.
    pub(super) fn link(&self) -> Option<&Arc<Link>> {
        self.link.as_ref()
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, StreamError>>> {
        let Some(link) = &self.link else { return Poll::Ready(None) };
        loop {
            self.lost.add(self.batch.take_lost());
            let decoded = match self.batch.pop() {
                Some(RawItem::Small(bytes)) => (self.decode)(self.decoder, bytes, None),
                Some(RawItem::Special(special)) => {
                    let claims = (!special.attached.is_empty())
                        .then(|| Claims::new(Arc::clone(link), self.decoder.codec, special.attached));
                    let decoded = (self.decode_alone)(self.decoder, special.body, claims);
                    if special.large > 0 {
                        link.large_was_read(self.port, special.large);
                    }
                    decoded
                }
                None => {
                    // Where another thread reads them there are always more.
                    let turn = ready!(coop::poll_proceed(cx));
                    let end = ready!(link.poll_items(self.port, &mut self.batch, cx.waker()));
                    turn.made_progress();
                    match end {
                        None => continue,
                        Some((end, lost)) => {
                            self.lost.add(lost);
                            self.stop();
                            return Poll::Ready(end.into_error().map(Err));
                        }
                    }
                }
            };
            return Poll::Ready(Some(match decoded {
                Ok(item) => Ok(item),
                Err(why) => {
                    self.stop();
                    Err(StreamError::Malformed(why))
                }
            }));
        }
    }

    /// Lets the writer know, once.
    fn stop(&mut self) {
        if let Some(link) = self.link.take() {
            let unread = self.batch.attached();
            if !unread.is_empty() {
                link.let_go(unread);
            }
            self.batch = Batch::default();
            link.stop_reading(self.port);
        }
    }
}

impl<T> Drop for PortReader<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
