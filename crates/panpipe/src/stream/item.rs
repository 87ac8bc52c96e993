//! How the items of a stream travel: `Vec<u8>` and `Bytes` as one block of bytes, all else
//! as serde takes it.

use std::any::{Any, TypeId};
use std::task::{Poll, Waker};

use bytes::Bytes;
use panpipe_transport::buffer::FrameBuf;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::carried::{self, Carried, Claims};
use crate::codec::{Codec, Decoder};
use crate::in_place;
use crate::limits;
use crate::link::Link;
use crate::session::{Encoded, ItemError, StreamEnd};
use crate::shape::{Block, Ref, Shape, Wired};
use crate::type_check::CheckedItems;

/// Encodes an item, unless the codec does not carry its type. Gives what it carries.
#[inline]
pub(super) fn encode<T: Serialize + DeserializeOwned + 'static>(
    checked: &CheckedItems,
    codec: Codec,
    item: &T,
    out: &mut Vec<u8>,
) -> Result<Carried, String> {
    let any = item as &dyn Any;
    // Known when this is compiled for `T`; serde would take a `Vec`'s bytes one by one.
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        carried::encode(codec, &Ref::<Block, _>::new(bytes), out)
    } else if let Some(bytes) = any.downcast_ref::<Bytes>() {
        carried::encode(codec, &Ref::<Block, _>::new(bytes), out)
    } else {
        checked.check(codec, item)?;
        carried::encode(codec, item, out)
    }
}

/// An item that is being sent, and waits for credit or for room in the queue.
#[derive(Default)]
pub(super) struct ItemDraft {
    message: Encoded,
    /// How much credit it needs, once that is known.
    needs: u64,
}

impl ItemDraft {
    /// Whether the item has been encoded.
    pub(super) fn is_begun(&self) -> bool {
        self.message.is_some()
    }

    /// Encodes the item, outside of the connection's lock, and queues it. Gives its size. Ready
    /// for the next item then.
    #[inline]
    pub(super) fn poll_send(
        &mut self,
        link: &Link,
        port: u64,
        comes_alone: bool,
        waker: &Waker,
        encode: impl FnOnce(Codec, &mut Vec<u8>) -> Result<Carried, String>,
    ) -> Poll<Result<usize, ItemError>> {
        let unsendable = |why| ItemError::Unsendable(StreamEnd::Malformed(why));
        let mut message = self.message.take_or(link.codec(), encode).map_err(unsendable)?;
        let encoded = message.get().expect("it has just been encoded");
        let polled = link.poll_item(port, &mut self.needs, comes_alone, waker, encoded);
        match polled {
            Poll::Ready(_) => {
                self.needs = 0;
                message.finish();
            }
            Poll::Pending => self.message.keep(message),
        }
        polled
    }
}

/// Decodes an item; its ports are claimed from `claims`.
#[inline]
pub(super) fn decode<T: DeserializeOwned + 'static>(
    decoder: Decoder,
    bytes: &[u8],
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() {
        decode_block::<Vec<u8>, T>(decoder, bytes)
    } else if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        decode_block::<Bytes, T>(decoder, bytes)
    } else {
        carried::decode(decoder, bytes, claims)
    }
}

/// Decodes a `B`, which is a `T`.
#[inline]
fn decode_block<B: 'static, T: 'static>(decoder: Decoder, bytes: &[u8]) -> Result<T, String>
where
    Block: Shape<B>,
{
    let mut block = Some(decoder.decode::<Wired<Block, B>>(bytes)?.into_inner());
    let item = (&mut block as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
    item.ok_or_else(|| unreachable!("a `T` that is a block takes one"))
}

/// Decodes an item that has a buffer of its own.
pub(super) fn decode_alone<T: DeserializeOwned + 'static>(
    decoder: Decoder,
    frame: FrameBuf,
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    if frame.len() < limits::SHARED_BLOCK {
        return decode(decoder, &frame, claims);
    }
    in_place::decode_in(frame, |frame| decode(decoder, frame, claims))
}

#[cfg(test)]
mod tests {
    use panpipe_transport::buffer::Assembly;

    use super::*;

    fn encoded<T: Serialize + DeserializeOwned + 'static>(codec: Codec, item: &T) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&CheckedItems::default(), codec, item, &mut out).unwrap();
        out
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn bytes_are_one_block_and_the_rest_is_as_serde_takes_it() {
        // MessagePack writes a list's numbers over 127 in two bytes each.
        let codec = Codec::MessagePack;
        let block = encoded(codec, &vec![200u8; 100]);
        assert_eq!(block.len(), 102);
        assert_eq!(decode(codec.into(), &block, None), Ok(vec![200u8; 100]));
        let numbers = vec![200u16; 100];
        assert_eq!(decode(codec.into(), &encoded(codec, &numbers), None), Ok(numbers));
    }

    #[cfg(feature = "bincode")]
    #[test]
    fn a_type_that_the_codec_does_not_carry_is_refused_with_its_first_item() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Entry {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            quota: Option<u8>,
            level: u8,
        }
        let harmless = Entry { quota: Some(1), level: 2 };
        let checked = CheckedItems::default();
        for _ in 0..2 {
            let refused = encode(&checked, Codec::Bincode, &harmless, &mut Vec::new());
            assert!(refused.is_err_and(|why| why.contains("the field `quota` of `Entry`")));
        }
    }

    fn alone(bytes: &[u8]) -> FrameBuf {
        let mut assembly = Assembly::default();
        assembly.append(bytes);
        assembly.into_frame()
    }

    #[test]
    fn large_bytes_stay_where_they_came_in_and_are_the_same_in_every_codec() {
        let item = Bytes::from((0..100_000u32).map(|at| at as u8).collect::<Vec<_>>());
        for codec in Codec::BUILT_IN {
            let frame = alone(&encoded(*codec, &item));
            let range = frame.as_ptr_range();
            let decoded: Bytes = decode_alone((*codec).into(), frame, None).unwrap();
            assert_eq!(decoded, item, "{codec:?}");
            if codec.id() <= 2 {
                assert!(range.contains(&decoded.as_ptr()), "{codec:?} copies");
            }
        }
    }

    #[test]
    fn an_item_that_is_no_bytes_is_an_error_or_itself() {
        let codec = Codec::default();
        assert!(decode_alone::<Bytes>(codec.into(), alone(&[9; 100]), None).is_err());
        assert!(decode_alone::<Bytes>(codec.into(), alone(&[]), None).is_err());
        let frame = alone(&encoded(codec, &"text".to_owned()));
        assert_eq!(decode_alone::<String>(codec.into(), frame, None), Ok("text".to_owned()));
    }
}
