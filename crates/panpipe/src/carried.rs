//! What a value carries beside its bytes, while it is encoded or decoded: ports, and large
//! blocks of bytes that go out from where they stand.
//!
//! Streams, senders and clients are serialized as an index into the list of
//! ports that travels behind their message. The list is made, and claimed from,
//! on the side: it is known to this thread while the codec is at work.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use panpipe_transport::codec::leave_out;
use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{Codec, Decoder};
use crate::limits::LARGE_MESSAGE;
use crate::link::Link;
use crate::service::Served;
use crate::session::{Attached, PortKind};

/// A port that is opened if the message is sent which is being encoded.
pub(crate) enum Offer {
    /// This side writes a stream. Its writer keeps at most `items` of them unread, if given.
    Stream { items: Option<u64>, attach: Arc<dyn Attach> },
    /// This side reads a stream, and takes so many items ahead.
    Sender { items: u64, attach: Arc<dyn Attach> },
    /// This side answers calls, and tells which version it speaks if that was asked.
    Service { served: Served, told: Option<u32> },
}

impl Offer {
    /// Leaves the stream's credit to its reader: the peer knows no other.
    pub(crate) fn without_stream_credit(&mut self) {
        if let Offer::Stream { items, .. } = self {
            *items = None;
        }
    }
}

/// A block of bytes that is not among those that were appended.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    /// Behind how much of the output it belongs.
    pub(crate) at: usize,
    pub(crate) block: Bytes,
}

/// What a message carries that has been encoded.
#[derive(Default)]
pub(crate) struct Cargo {
    /// Its ports.
    pub(crate) offers: Vec<Offer>,
    /// Its blocks, in their order. Each is large enough for a message that goes out in parts.
    pub(crate) apart: Vec<Apart>,
}

impl Cargo {
    #[cfg(test)]
    pub(crate) fn of_ports(offers: Vec<Offer>) -> Carried {
        Some(Box::new(Cargo { offers, apart: Vec::new() }))
    }

    /// Whether it holds a stream or a sender, of which there is but one.
    pub(crate) fn has_stream(&self) -> bool {
        self.offers.iter().any(|offer| matches!(offer, Offer::Stream { .. } | Offer::Sender { .. }))
    }

    /// How many bytes stand apart.
    pub(crate) fn apart_len(&self) -> usize {
        self.apart.iter().map(|apart| apart.block.len()).sum()
    }

    /// Puts the blocks where they belong in `out`, for who has no other way for them.
    pub(crate) fn put_back(&mut self, out: &mut Vec<u8>) {
        // The last one first: it moves no other's place.
        for Apart { at, block } in self.apart.drain(..).rev() {
            out.splice(at..at, block);
        }
    }
}

/// Most messages carry nothing, and every call returns this: it has to be small.
pub(crate) type Carried = Option<Box<Cargo>>;

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
    /// A message of panpipe's, which has carried nothing so far.
    Message,
    /// One that has: it stands in `CARGO`.
    MessageWithCargo,
}

thread_local! {
    // Apart from the cargo, so that a message without any costs two writes.
    static ENCODING: Cell<Encoding> = const { Cell::new(Encoding::Nothing) };
    static CARGO: RefCell<Cargo> = const { RefCell::new(Cargo { offers: Vec::new(), apart: Vec::new() }) };
    /// Set while what a failed call has left behind is dropped.
    static GIVING_UP: Cell<bool> = const { Cell::new(false) };
    static CLAIMS: RefCell<Option<Box<Claims>>> = const { RefCell::new(None) };
    /// Set while tarpc's own codec is at work, or samples are encoded: how many ports were met.
    static FOREIGN: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Encodes `value`. Gives what it carries.
#[inline]
pub(crate) fn encode<T: Serialize>(codec: Codec, value: &T, out: &mut Vec<u8>) -> Result<Carried, String> {
    /// Ends the encoding, also where a `Serialize` fails or panics.
    struct Scope;
    impl Drop for Scope {
        #[inline]
        fn drop(&mut self) {
            if ENCODING.replace(Encoding::Nothing) == Encoding::MessageWithCargo {
                forget_cargo();
            }
        }
    }
    if ENCODING.get() != Encoding::Nothing {
        return encode_within(codec, value, out);
    }
    ENCODING.set(Encoding::Message);
    let _scope = Scope;
    codec.encode(value, out)?;
    Ok(if ENCODING.get() == Encoding::Message { None } else { take_cargo() })
}

/// Encodes a message while another one is being encoded: a `Serialize` has sent it.
#[cold]
fn encode_within<T: Serialize>(codec: Codec, value: &T, out: &mut Vec<u8>) -> Result<Carried, String> {
    /// Restores what the outer message carries.
    struct Outer(Encoding, Cargo);
    impl Drop for Outer {
        fn drop(&mut self) {
            ENCODING.set(self.0);
            CARGO.set(std::mem::take(&mut self.1));
        }
    }
    let _outer = Outer(ENCODING.replace(Encoding::Nothing), CARGO.take());
    encode(codec, value, out)
}

#[cold]
fn take_cargo() -> Carried {
    Some(Box::new(CARGO.take()))
}

#[cold]
fn forget_cargo() {
    drop(CARGO.take());
}

/// Runs `serialize`, which serializes `block`. A large one that is part of a message is
/// not copied.
#[inline]
pub(crate) fn share<R>(block: &Bytes, serialize: impl FnOnce() -> R) -> R {
    if block.len() < LARGE_MESSAGE || ENCODING.get() == Encoding::Nothing {
        return serialize();
    }
    let (result, at) = leave_out(block, serialize);
    if let Some(at) = at {
        CARGO.with_borrow_mut(|cargo| cargo.apart.push(Apart { at, block: block.clone() }));
        ENCODING.set(Encoding::MessageWithCargo);
    }
    result
}

/// Adds a port to the message that is being encoded. Gives what stands for it.
pub(crate) fn offer<E: serde::ser::Error>(make: impl FnOnce() -> Offer) -> Result<u32, E> {
    match ENCODING.get() {
        Encoding::Nothing if meet_foreign() => Ok(NO_PORT),
        Encoding::Nothing => Err(E::custom(
            "a stream, sender or client can only be encoded as part of a call, a reply or a stream's item of panpipe's own",
        )),
        Encoding::Message | Encoding::MessageWithCargo => {
            let offer = make();
            CARGO.with_borrow_mut(|cargo| {
                let index = u32::try_from(cargo.offers.len()).map_err(E::custom)?;
                cargo.offers.push(offer);
                ENCODING.set(Encoding::MessageWithCargo);
                Ok(index)
            })
        }
    }
}

/// Whether the message being encoded carries a stream with this end already.
pub(crate) fn is_offered(end: &Arc<dyn Attach>) -> bool {
    CARGO.with_borrow(|cargo| {
        cargo.offers.iter().any(|offer| match offer {
            Offer::Stream { attach: known, .. } | Offer::Sender { attach: known, .. } => {
                Arc::ptr_eq(known, end)
            }
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
    decoder: Decoder,
    bytes: &[u8],
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    match claims {
        None => decoder.decode(bytes),
        Some(claims) => decode_claiming(decoder, bytes, claims),
    }
}

#[cold]
fn decode_claiming<T: DeserializeOwned>(
    decoder: Decoder,
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
    decoder.decode(bytes)
}

/// Drops what a call leaves behind that has failed: the senders in it have not ended their
/// streams, and must not look as if they had.
pub(crate) fn give_up(code: impl FnOnce()) {
    struct Scope(bool);
    impl Drop for Scope {
        fn drop(&mut self) {
            GIVING_UP.set(self.0);
        }
    }
    let _scope = Scope(GIVING_UP.replace(true));
    code();
}

/// Whether a value that is dropped now belongs to a call that has failed, or to a message that
/// cannot be decoded.
pub(crate) fn is_given_up() -> bool {
    let is_decoding = || CLAIMS.try_with(|claims| claims.try_borrow().is_ok_and(|claims| claims.is_some()));
    GIVING_UP.try_with(Cell::get).unwrap_or(false) || is_decoding().unwrap_or(false)
}

/// A port that was claimed by the value that it was sent as.
pub(crate) struct Claimed {
    pub(crate) link: Arc<Link>,
    pub(crate) codec: Codec,
    pub(crate) port: u64,
    /// How many items may be on their way unread: always given for a sender, and for a
    /// stream if its writer keeps fewer than its reader accepts; else 0.
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

/// Runs `check`, which encodes and decodes samples. A sample's ports are none, and no message
/// gets them.
pub(crate) fn sampling<R>(check: impl FnOnce() -> R) -> R {
    struct Scope(Encoding, Option<Box<Claims>>, Option<u32>);
    impl Drop for Scope {
        fn drop(&mut self) {
            ENCODING.set(self.0);
            drop(CLAIMS.replace(self.1.take()));
            FOREIGN.set(self.2);
        }
    }
    let _scope = Scope(ENCODING.replace(Encoding::Nothing), CLAIMS.take(), FOREIGN.replace(Some(0)));
    check()
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

#[cfg(test)]
#[cfg(feature = "bincode")]
mod tests {
    use super::*;
    use crate::shape::{Block, Opt, Plain, Tup, Wired};

    type Shape = Tup<(Plain, Block, Opt<Block>, Block)>;
    type Value = (u8, Bytes, Option<Bytes>, Vec<u8>);

    fn value() -> Value {
        let block = Bytes::from(vec![7; LARGE_MESSAGE]);
        (1, block.clone(), Some(block), vec![9; LARGE_MESSAGE])
    }

    #[test]
    fn large_blocks_stand_apart_and_are_shared() {
        let value = value();
        let wired = Wired::<Shape, Value>::new(value.clone());
        let mut out = b"before".to_vec();
        let mut cargo = encode(Codec::Bincode, &wired, &mut out).unwrap().unwrap();
        assert_eq!((cargo.offers.len(), cargo.apart_len()), (0, 2 * LARGE_MESSAGE));
        assert!(cargo.apart.iter().all(|apart| apart.block.as_ptr() == value.1.as_ptr()));
        // A `Vec` is nobody's to share.
        assert!((LARGE_MESSAGE..LARGE_MESSAGE + 100).contains(&out.len()), "{}", out.len());
        cargo.put_back(&mut out);
        let back: Wired<Shape, Value> = decode(Codec::Bincode.into(), &out[6..], None).unwrap();
        assert!(back.into_inner() == value);
        // All there where no message of panpipe's is made.
        let mut alone = Vec::new();
        Codec::Bincode.encode(&wired, &mut alone).unwrap();
        assert!(alone == out[6..]);
    }

    #[test]
    fn a_message_sent_by_a_serialize_leaves_the_outer_one_its_blocks() {
        struct Sends(Bytes);
        impl Serialize for Sends {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let inner = Wired::<Block, Bytes>::new(Bytes::from(vec![3; LARGE_MESSAGE]));
                let carried = encode(Codec::Bincode, &inner, &mut Vec::new()).unwrap().unwrap();
                assert_eq!(carried.apart_len(), LARGE_MESSAGE);
                assert!(encode(Codec::Bincode, &5u8, &mut Vec::new()).unwrap().is_none());
                share(&self.0, || serializer.serialize_bytes(&self.0))
            }
        }
        let block = Bytes::from(vec![7; LARGE_MESSAGE]);
        let value = (Sends(block.clone()), Sends(block.clone()));
        let carried = encode(Codec::Bincode, &value, &mut Vec::new()).unwrap().unwrap();
        assert!(carried.apart.iter().map(|apart| &apart.block).eq([&block, &block]));
        assert_eq!(ENCODING.get(), Encoding::Nothing);
    }

    #[test]
    fn nothing_is_carried_on_from_a_message_that_fails() {
        struct Fails(Bytes);
        impl Serialize for Fails {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                share(&self.0, || serializer.serialize_bytes(&self.0))?;
                Err(serde::ser::Error::custom("as it was asked to"))
            }
        }
        let mut out = b"before".to_vec();
        assert!(encode(Codec::Bincode, &Fails(value().1), &mut out).is_err());
        assert_eq!(out, b"before");
        assert!(encode(Codec::Bincode, &5u8, &mut out).unwrap().is_none());
        assert!(CARGO.with_borrow(|cargo| cargo.apart.is_empty()));
    }
}
