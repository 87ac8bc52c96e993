//! JSON, for peers in other languages and for people.

use serde::de::DeserializeSeed;
use serde::{Serialize, de::DeserializeOwned};

use super::guard::Guard;
use super::{Codec, DecodeError, EncodeError, or_cut_back};

/// JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json;

impl Codec for Json {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        or_cut_back(out, |out| serde_json::to_writer(out, value))
    }

    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len());
        let error = |error: serde_json::Error| guard.explain(error);
        let mut deserializer = serde_json::Deserializer::from_slice(message);
        let value = guard.seed::<T>().deserialize(&mut deserializer).map_err(error)?;
        deserializer.end().map_err(error)?;
        Ok(value)
    }
}
