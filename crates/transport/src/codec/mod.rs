//! How values become bytes and bytes values, behind one trait.
//!
//! Every codec decodes through one guard: nesting is bounded, and neither memory
//! nor time goes further than the bytes that are there. Every codec encodes through another
//! guard: what the codec cannot carry is an error at the sender, see [`Codec::check`].

mod apart;
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod encode_guard;
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod guard;
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod sampler;
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod type_check;

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "messagepack")]
mod messagepack;
#[cfg(feature = "postcard")]
mod postcard;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "messagepack")]
pub use self::messagepack::MessagePack;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;

pub use self::apart::{append, leave_out};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// A value that cannot be encoded; its codec's own words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct EncodeError(pub String);

/// Bytes that are no value of the expected type; the codec's own words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// What [`Codec::check`] has found out about a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeCheck {
    /// Every sample arrived as it was sent.
    Passed,
    /// The type reads what its bytes describe, as an untagged enum does, so that no samples
    /// could be made: [`Codec::verify`] each value.
    Unknown,
}

/// Encodes and decodes one message.
pub trait Codec {
    /// Appends the encoding of `value` to `out`.
    ///
    /// # Errors
    ///
    /// When the value cannot be encoded, or would arrive as another value; `out` is then as it
    /// was.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Decodes a message, which must be the value and nothing else.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one value, nest too deep, or claim more
    /// elements than they can hold.
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError>;

    /// Decodes a message whose value nests at most `max_depth` deep, counted in serde's levels:
    /// an option, a newtype and a struct are one each.
    ///
    /// A codec of another crate keeps a limit of its own unless it overrides this.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode).
    #[inline]
    fn decode_nested<T: DeserializeOwned>(&self, message: &[u8], max_depth: u32) -> Result<T, DecodeError> {
        let _ = max_depth;
        self.decode(message)
    }

    /// Checks whether the codec carries the values of a type, from samples of the type.
    ///
    /// [`encode`](Self::encode) refuses single values; this finds types of which some value
    /// would be refused or would not arrive as it was sent. `Deserialize` of the type makes
    /// the samples, so that user code runs. The result depends on the type alone: call this
    /// once per type. A codec of another crate accepts every type unless it overrides this.
    ///
    /// # Errors
    ///
    /// When the codec cannot carry the type; the error names the type, the field and a fix.
    fn check<T: Serialize + DeserializeOwned>(&self) -> Result<TypeCheck, EncodeError> {
        Ok(TypeCheck::Passed)
    }

    /// Checks that a value can be decoded after it was encoded.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded or decoded.
    fn verify<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<(), EncodeError> {
        let mut message = Vec::new();
        self.encode(value, &mut message)?;
        match self.decode::<T>(&message) {
            Ok(_) => Ok(()),
            Err(DecodeError(why)) => Err(EncodeError(format!(
                "the receiver could not decode the value: {why}; choose another codec or send the value as another type"
            ))),
        }
    }
}

/// Cuts `out` back when encoding fails.
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
#[inline]
fn or_cut_back<E: std::fmt::Display>(
    out: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), encode_guard::Refused> {
    let before = out.len();
    encode(out).map_err(|error| {
        out.truncate(before);
        encode_guard::refused(error)
    })
}

/// The value, if its encoding was all of the message.
#[cfg(any(feature = "bincode", feature = "messagepack", feature = "postcard"))]
fn whole<T>(value: T, left: usize) -> Result<T, DecodeError> {
    if left == 0 { Ok(value) } else { Err(DecodeError(format!("{left} bytes are left after the value"))) }
}
