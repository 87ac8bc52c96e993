//! How the items of a stream travel: a `Vec<u8>` as one block of bytes, all else
//! as serde takes it. Large `Bytes` are read in place.

use std::any::{Any, TypeId};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use panpipe_transport::buffer::FrameBuf;
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::carried::{self, Carried, Claims};
use crate::codec::Codec;
use crate::shape::{Block, Wired};

/// Encodes an item. Gives the ports that it carries.
#[inline]
pub(super) fn encode<T: Serialize + 'static>(
    codec: Codec,
    item: &T,
    out: &mut Vec<u8>,
) -> Result<Carried, String> {
    // Known when this is compiled for `T`; serde would take the bytes one by one.
    match (item as &dyn Any).downcast_ref::<Vec<u8>>() {
        Some(bytes) => codec.encode(&BlockRef(bytes), out).map(|()| None),
        None => carried::encode(codec, item, out),
    }
}

/// Decodes an item; its ports are claimed from `claims`.
#[inline]
pub(super) fn decode<T: DeserializeOwned + 'static>(
    codec: Codec,
    bytes: &[u8],
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() {
        let mut block = Some(codec.decode::<Wired<Block, Vec<u8>>>(bytes)?.into_inner());
        let item = (&mut block as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
        return item.ok_or_else(|| unreachable!("a `T` that is a `Vec<u8>` takes one"));
    }
    carried::decode(codec, bytes, claims)
}

/// Decodes an item that has a buffer of its own.
pub(super) fn decode_alone<T: DeserializeOwned + 'static>(
    codec: Codec,
    frame: FrameBuf,
    claims: Option<Box<Claims>>,
) -> Result<T, String> {
    if TypeId::of::<T>() == TypeId::of::<Bytes>() {
        // Most of the frame is the item: it takes no more room than a copy would.
        if let Some(range) = codec.decode::<Place>(&frame).ok().and_then(|place| place.within(&frame)) {
            let mut bytes = Some(Bytes::from_owner(frame).slice(range));
            let item = (&mut bytes as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
            return item.ok_or_else(|| unreachable!("a `T` that is `Bytes` takes them"));
        }
    }
    decode(codec, &frame, claims)
}

/// Where a block of bytes was shown by its codec.
struct Place {
    address: usize,
    len: usize,
}

impl Place {
    /// Its range in `frame`, if that is where it was: a codec may show a copy.
    fn within(&self, frame: &[u8]) -> Option<Range<usize>> {
        let start = self.address.checked_sub(frame.as_ptr() as usize)?;
        let end = start.checked_add(self.len)?;
        (end <= frame.len()).then_some(start..end)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shown;
        impl Visitor<'_> for Shown {
            type Value = Place;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a block of bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Place, E> {
                Ok(Place { address: bytes.as_ptr() as usize, len: bytes.len() })
            }
        }
        deserializer.deserialize_bytes(Shown)
    }
}

struct BlockRef<'a>(&'a [u8]);

impl Serialize for BlockRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use panpipe_transport::buffer::Assembly;

    use super::*;

    fn encoded<T: Serialize + 'static>(codec: Codec, item: &T) -> Vec<u8> {
        let mut out = Vec::new();
        encode(codec, item, &mut out).unwrap();
        out
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn bytes_are_one_block_and_the_rest_is_as_serde_takes_it() {
        // MessagePack writes a list's numbers over 127 in two bytes each.
        let codec = Codec::MessagePack;
        let block = encoded(codec, &vec![200u8; 100]);
        assert_eq!(block.len(), 102);
        assert_eq!(decode(codec, &block, None), Ok(vec![200u8; 100]));
        let numbers = vec![200u16; 100];
        assert_eq!(decode(codec, &encoded(codec, &numbers), None), Ok(numbers));
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
            let decoded: Bytes = decode_alone(*codec, frame, None).unwrap();
            assert_eq!(decoded, item, "{codec:?}");
            if codec.id() <= 2 {
                assert!(range.contains(&decoded.as_ptr()), "{codec:?} copies");
            }
        }
    }

    #[test]
    fn an_item_that_is_no_bytes_is_an_error_or_itself() {
        let codec = Codec::default();
        assert!(decode_alone::<Bytes>(codec, alone(&[9; 100]), None).is_err());
        assert!(decode_alone::<Bytes>(codec, alone(&[]), None).is_err());
        let frame = alone(&encoded(codec, &"text".to_owned()));
        assert_eq!(decode_alone::<String>(codec, frame, None), Ok("text".to_owned()));
    }
}
