//! postcard: the smallest messages.

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeSeed;
use serde::{Serialize, de::DeserializeOwned};

use super::apart::append;
use super::encode_guard::{Format, Refused, Value};
use super::guard::Guard;
use super::type_check::check;
use super::{Codec, DecodeError, EncodeError, TypeCheck, or_cut_back, whole};
use crate::limits::MAX_DEPTH;

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

impl Format for Postcard {
    const NAME: &'static str = "postcard";
    const WRITES_NAMES: bool = false;
    const UNKNOWN_LENGTHS: bool = false;
    const SELF_DESCRIBING: bool = false;
    const NULL_IS_NONE: bool = false;
    const UNIT_STRUCT_IS_NULL: bool = false;
    const ALL_FLOATS: bool = true;
    const HUMAN_READABLE: bool = false;

    #[inline]
    fn encode_guarded<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused> {
        or_cut_back(out, |out| postcard::serialize_with_flavor(&Value::<T, Self>::new(value), VecFlavor(out)))
    }
}

impl Codec for Postcard {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Self::encode_guarded(value, out).map_err(|refused| EncodeError(refused.message))
    }

    #[inline]
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        self.decode_nested(message, MAX_DEPTH)
    }

    fn decode_nested<T: DeserializeOwned>(&self, message: &[u8], max_depth: u32) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len(), max_depth);
        let error = |error: postcard::Error| guard.explain(error);
        let mut deserializer = postcard::Deserializer::from_bytes(message);
        let value = guard.seed::<T>().deserialize(&mut deserializer).map_err(error)?;
        let rest = deserializer.finalize().map_err(error)?;
        whole(value, rest.len())
    }

    fn check<T: Serialize + DeserializeOwned>(&self) -> Result<TypeCheck, EncodeError> {
        check::<Self, T>(self)
    }
}
