//! bincode 2: little-endian and of fixed width, which on small messages is
//! quicker than short integers are.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::EncodeError as BincodeError;
use serde::{Serialize, de::DeserializeOwned};

use super::apart::append;
use super::encode_guard::{Format, Refused, Value};
use super::guard::Guard;
use super::type_check::check;
use super::{Codec, DecodeError, EncodeError, TypeCheck, or_cut_back, whole};
use crate::limits::MAX_DEPTH;

/// bincode's own limit is a constant; the guard's is the message's length.
const CONFIG: Configuration<LittleEndian, Fixint, NoLimit> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding();

/// bincode 2 with fixed-width little-endian integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bincode;

struct VecWriter<'a>(&'a mut Vec<u8>);

impl Writer for VecWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), BincodeError> {
        append(self.0, bytes);
        Ok(())
    }
}

impl Format for Bincode {
    const NAME: &'static str = "bincode";
    const WRITES_NAMES: bool = false;
    const UNKNOWN_LENGTHS: bool = false;
    const SELF_DESCRIBING: bool = false;
    const NULL_IS_NONE: bool = false;
    const UNIT_STRUCT_IS_NULL: bool = false;
    const ALL_FLOATS: bool = true;
    const HUMAN_READABLE: bool = false;

    #[inline]
    fn encode_guarded<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused> {
        or_cut_back(out, |out| {
            bincode::serde::encode_into_writer(Value::<T, Self>::new(value), VecWriter(out), CONFIG)
        })
    }
}

impl Codec for Bincode {
    #[inline]
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Self::encode_guarded(value, out).map_err(|refused| EncodeError(refused.message))
    }

    #[inline]
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError> {
        self.decode_nested(message, MAX_DEPTH)
    }

    #[inline]
    fn decode_nested<T: DeserializeOwned>(&self, message: &[u8], max_depth: u32) -> Result<T, DecodeError> {
        let guard = Guard::new(message.len(), max_depth);
        let (value, taken) = bincode::serde::seed_decode_from_slice(guard.seed::<T>(), message, CONFIG)
            .map_err(|error| guard.explain(error))?;
        whole(value, message.len().saturating_sub(taken))
    }

    fn check<T: Serialize + DeserializeOwned>(&self) -> Result<TypeCheck, EncodeError> {
        check::<Self, T>(self)
    }
}
