//! JSON, for peers in other languages and for people.

use serde::de::DeserializeSeed;
use serde::{Serialize, de::DeserializeOwned};

use super::encode_guard::{Format, Refused, Value};
use super::guard::Guard;
use super::type_check::check;
use super::{Codec, DecodeError, EncodeError, TypeCheck, or_cut_back};
use crate::limits::MAX_DEPTH;

/// JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json;

impl Format for Json {
    const NAME: &'static str = "JSON";
    const WRITES_NAMES: bool = true;
    const UNKNOWN_LENGTHS: bool = true;
    const SELF_DESCRIBING: bool = true;
    const NULL_IS_NONE: bool = true;
    const UNIT_STRUCT_IS_NULL: bool = true;
    const ALL_FLOATS: bool = false;
    const HUMAN_READABLE: bool = true;

    #[inline]
    fn encode_guarded<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused> {
        or_cut_back(out, |out| serde_json::to_writer(out, &Value::<T, Self>::new(value)))
    }
}

impl Codec for Json {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Self::encode_guarded(value, out).map_err(|refused| EncodeError(refused.message))
    }

    #[inline]
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        self.decode_nested(message, MAX_DEPTH)
    }

    fn decode_nested<T: DeserializeOwned>(&self, message: &[u8], max_depth: u32) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len(), max_depth);
        let error = |error: serde_json::Error| guard.explain(error);
        let mut deserializer = serde_json::Deserializer::from_slice(message);
        let value = guard.seed::<T>().deserialize(&mut deserializer).map_err(error)?;
        deserializer.end().map_err(error)?;
        Ok(value)
    }

    fn check<T: Serialize + DeserializeOwned>(&self) -> Result<TypeCheck, EncodeError> {
        check::<Self, T>(self)
    }
}
