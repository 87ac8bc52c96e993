//! How the items of a stream travel: a `Vec<u8>` as one block of bytes, all else
//! as serde takes it.

use std::any::{Any, TypeId};

use serde::Serialize;
use serde::de::DeserializeOwned;

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

struct BlockRef<'a>(&'a [u8]);

impl Serialize for BlockRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
#[cfg(feature = "messagepack")]
mod tests {
    use super::*;

    fn there_and_back<T: Serialize + DeserializeOwned + 'static>(item: &T) -> (usize, T) {
        let mut out = Vec::new();
        encode(Codec::MessagePack, item, &mut out).unwrap();
        (out.len(), decode(Codec::MessagePack, &out, None).unwrap())
    }

    #[test]
    fn bytes_are_one_block_and_the_rest_is_as_serde_takes_it() {
        // MessagePack writes a list's numbers over 127 in two bytes each.
        assert_eq!(there_and_back(&vec![200u8; 100]), (102, vec![200u8; 100]));
        assert_eq!(there_and_back(&vec![200u16; 100]).1, vec![200u16; 100]);
        assert_eq!(there_and_back(&"text".to_owned()).1, "text");
    }
}
