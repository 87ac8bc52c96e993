//! MessagePack, for peers in other languages.

use std::io::{self, Cursor, Write};

use serde::de::DeserializeSeed;
use serde::{Serialize, de::DeserializeOwned};

use super::apart::append;
use super::encode_guard::{Format, Refused, Value};
use super::guard::Guard;
use super::type_check::check;
use super::{Codec, DecodeError, EncodeError, TypeCheck, or_cut_back, whole};
use crate::limits::MAX_DEPTH;

/// MessagePack, structures as arrays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessagePack;

struct VecWriter<'a>(&'a mut Vec<u8>);

impl Write for VecWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Format for MessagePack {
    const NAME: &'static str = "MessagePack";
    const WRITES_NAMES: bool = false;
    const UNKNOWN_LENGTHS: bool = true;
    const SELF_DESCRIBING: bool = true;
    const NULL_IS_NONE: bool = true;
    const UNIT_STRUCT_IS_NULL: bool = false;
    const ALL_FLOATS: bool = true;
    const HUMAN_READABLE: bool = false;

    #[inline]
    fn encode_guarded<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused> {
        or_cut_back(out, |out| rmp_serde::encode::write(&mut VecWriter(out), &Value::<T, Self>::new(value)))
    }
}

impl Codec for MessagePack {
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Self::encode_guarded(value, out).map_err(|refused| EncodeError(refused.message))
    }

    #[inline]
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        self.decode_nested(message, MAX_DEPTH)
    }

    fn decode_nested<T: DeserializeOwned>(&self, message: &[u8], max_depth: u32) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len(), max_depth);
        let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(message));
        let value = guard.seed::<T>().deserialize(&mut deserializer).map_err(|error| guard.explain(error))?;
        let taken = usize::try_from(deserializer.position()).unwrap_or(usize::MAX);
        whole(value, message.len().saturating_sub(taken))
    }

    fn check<T: Serialize + DeserializeOwned>(&self) -> Result<TypeCheck, EncodeError> {
        check::<Self, T>(self)
    }
}
