//! The ports that a value carries, while it is encoded or decoded.
//!
//! Streams, senders and clients are serialized as an index into the list of
//! ports that travels behind their message. The list is made, and claimed from,
//! on the side: it is known to this thread while the codec is at work.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::Codec;
use crate::link::Link;
use crate::service::Served;
use crate::session::{Attached, PortKind};

/// A port that is opened if the message is sent which is being encoded.
pub(crate) enum Offer {
    /// This side writes a stream.
    Stream(Arc<dyn Attach>),
    /// This side reads a stream, and takes so many items ahead.
    Sender { items: u64, attach: Arc<dyn Attach> },
    /// This side answers calls, and tells which version it speaks if that was asked.
    Service { served: Served, told: Option<u32> },
}

/// The ports of a message; most have none.
#[allow(clippy::box_collection, reason = "every call returns it: it has to be small")]
pub(crate) type Carried = Option<Box<Vec<Offer>>>;

/// The end of a stream that stays here when the other one is sent.
pub(crate) trait Attach: Send + Sync {
    /// The message has been sent, the stream is this port.
    fn attach(self: Arc<Self>, link: Arc<Link>, port: u64);

    /// The connection ended before the stream could begin.
    fn lost(&self) {}
}

/// What stands for a port where no panpipe message is being encoded.
const NO_PORT: u32 = u32::MAX;

/// What this thread is encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Nothing,
    /// A message of panpipe's, which has carried no port so far.
    Message,
    /// One that has: they stand in `OFFERED`.
    MessageWithPorts,
}

thread_local! {
    // Apart from the list, so that a message without ports costs two writes.
    static ENCODING: Cell<Encoding> = const { Cell::new(Encoding::Nothing) };
    static OFFERED: RefCell<Vec<Offer>> = const { RefCell::new(Vec::new()) };
    static CLAIMS: RefCell<Option<Box<Claims>>> = const { RefCell::new(None) };
    /// Set while tarpc's own codec is at work: how often it has met a port.
    static FOREIGN: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Encodes `value`. Gives the ports that it carries.
#[inline]
pub(crate) fn encode<T: Serialize>(codec: Codec, value: &T, out: &mut Vec<u8>) -> Result<Carried, String> {
    /// Ends the encoding, also where a `Serialize` fails or panics.
    struct Scope;
    impl Drop for Scope {
        #[inline]
        fn drop(&mut self) {
            if ENCODING.replace(Encoding::Nothing) == Encoding::MessageWithPorts {
                forget_offers();
            }
        }
    }
    ENCODING.set(Encoding::Message);
    let _scope = Scope;
    codec.encode(value, out)?;
    Ok(if ENCODING.get() == Encoding::Message { None } else { take_offers() })
}

#[cold]
fn take_offers() -> Carried {
    Some(Box::new(OFFERED.take()))
}

#[cold]
fn forget_offers() {
    drop(OFFERED.take());
}

/// Adds a port to the message that is being encoded. Gives what stands for it.
pub(crate) fn offer<E: serde::ser::Error>(make: impl FnOnce() -> Offer) -> Result<u32, E> {
    match ENCODING.get() {
        Encoding::Nothing if meet_foreign() => Ok(NO_PORT),
        Encoding::Nothing => Err(E::custom(
            "a stream, sender or client can only be encoded as part of a call, a reply or a stream's item of panpipe's own",
        )),
        Encoding::Message | Encoding::MessageWithPorts => OFFERED.with_borrow_mut(|offered| {
            let index = u32::try_from(offered.len()).map_err(E::custom)?;
            offered.push(make());
            ENCODING.set(Encoding::MessageWithPorts);
            Ok(index)
        }),
    }
}

/// Whether the message being encoded carries a stream with this end already.
pub(crate) fn is_offered(end: &Arc<dyn Attach>) -> bool {
    OFFERED.with_borrow(|offered| {
        offered.iter().any(|offer| match offer {
            Offer::Stream(known) | Offer::Sender { attach: known, .. } => Arc::ptr_eq(known, end),
            Offer::Service { .. } => false,
        })
    })
}

/// The ports of a message that has come in. Those that nobody has claimed by
/// the time that this is dropped are given up.
pub(crate) struct Claims {
    link: Arc<Link>,
    codec: Codec,
    attached: Vec<Option<Attached>>,
}

impl Claims {
    pub(crate) fn new(link: Arc<Link>, codec: Codec, attached: Vec<Attached>) -> Box<Self> {
        Box::new(Claims { link, codec, attached: attached.into_iter().map(Some).collect() })
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.attached).finish()
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let unclaimed: Vec<_> = self.attached.iter_mut().filter_map(Option::take).collect();
        if !unclaimed.is_empty() {
            self.link.let_go(unclaimed);
        }
    }
}

/// Decodes a message; its ports are claimed from `claims`.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(
    codec: Codec,
    bytes: &[u8],
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    match claims {
        None => codec.decode(bytes),
        Some(claims) => decode_claiming(codec, bytes, claims),
    }
}

#[cold]
fn decode_claiming<T: DeserializeOwned>(
    codec: Codec,
    bytes: &[u8],
    claims: Box<Claims>,
) -> Result<T, String> {
    /// Drops the claims when no longer borrowed: what they give up runs code.
    struct Scope(Option<Box<Claims>>);
    impl Drop for Scope {
        fn drop(&mut self) {
            let claims = CLAIMS.replace(self.0.take());
            drop(claims);
        }
    }
    let _scope = Scope(CLAIMS.replace(Some(claims)));
    codec.decode(bytes)
}

/// A port that was claimed by the value that it was sent as.
pub(crate) struct Claimed {
    pub(crate) link: Arc<Link>,
    pub(crate) codec: Codec,
    pub(crate) port: u64,
    /// How many items a sender may have on their way.
    pub(crate) items: u64,
    /// Which version of a service is spoken, where that is told.
    pub(crate) version: Option<u32>,
}

/// Claims the port that stands at `index`. `None` for one that was lost on the
/// way: no value that it came with is handed to anybody.
pub(crate) fn claim<E: serde::de::Error>(index: u32, kind: PortKind) -> Result<Option<Claimed>, E> {
    CLAIMS.with_borrow_mut(|claims| {
        let Some(claims) = claims else {
            return if meet_foreign() {
                Ok(None)
            } else {
                Err(E::custom("a stream, sender or client came in a message that carries no ports"))
            };
        };
        let index = usize::try_from(index).map_err(E::custom)?;
        let place = claims.attached.get_mut(index);
        let place = place.ok_or_else(|| E::custom("a port is not in its message's list"))?;
        let attached = place.take().ok_or_else(|| E::custom("a port was claimed twice"))?;
        if attached.kind != kind {
            *place = Some(attached);
            return Err(E::custom("a port is of another kind than the type says"));
        }
        let Attached { port, items, version, .. } = attached;
        Ok(Some(Claimed { link: Arc::clone(&claims.link), codec: claims.codec, port, items, version }))
    })
}

fn meet_foreign() -> bool {
    let met = FOREIGN.get();
    FOREIGN.set(met.map(|met| met + 1));
    met.is_some()
}

/// Runs tarpc's codec. Gives whether it has met a port, which is then lost.
#[cfg(feature = "tarpc")]
pub(crate) fn foreign<R>(code: impl FnOnce() -> R) -> (R, bool) {
    struct Scope(Option<u32>);
    impl Drop for Scope {
        fn drop(&mut self) {
            FOREIGN.set(self.0);
        }
    }
    let _scope = Scope(FOREIGN.replace(Some(0)));
    let result = code();
    (result, FOREIGN.get().is_some_and(|met| met > 0))
}
