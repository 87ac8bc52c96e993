//! postcard: the smallest messages.

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeSeed;
use serde::{Serialize, de::DeserializeOwned};

use super::apart::append;
use super::guard::Guard;
use super::{Codec, DecodeError, EncodeError, or_cut_back, whole};

/// postcard 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Postcard;

struct VecFlavor<'a>(&'a mut Vec<u8>);

impl Flavor for VecFlavor<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        append(self.0, bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl Codec for Postcard {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        or_cut_back(out, |out| postcard::serialize_with_flavor(value, VecFlavor(out)))
    }

    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len());
        let error = |error: postcard::Error| guard.explain(error);
        let mut deserializer = postcard::Deserializer::from_bytes(message);
        let value = guard.seed::<T>().deserialize(&mut deserializer).map_err(error)?;
        let rest = deserializer.finalize().map_err(error)?;
        whole(value, rest.len())
    }
}
