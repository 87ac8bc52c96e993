//! How values become bytes and bytes values, behind one trait.
//!
//! Every codec decodes through one guard: nesting is bounded, and neither memory
//! nor time goes further than the bytes that are there.

mod apart;
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod guard;

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

/// Encodes and decodes one message.
pub trait Codec {
    /// Appends the encoding of `value` to `out`.
    ///
    /// # Errors
    ///
    /// When the value cannot be encoded; `out` is then as it was.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Decodes a message, which must be the value and nothing else.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one value, nest too deep, or claim more
    /// elements than they can hold.
    fn decode<T: DeserializeOwned>(&self, message: &[u8]) -> Result<T, DecodeError>;
}

/// Cuts `out` back when encoding fails.
#[cfg(any(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
#[inline]
fn or_cut_back<E: std::fmt::Display>(
    out: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), EncodeError> {
    let before = out.len();
    encode(out).map_err(|error| {
        out.truncate(before);
        EncodeError(error.to_string())
    })
}

/// The value, if its encoding was all of the message.
#[cfg(any(feature = "bincode", feature = "messagepack", feature = "postcard"))]
fn whole<T>(value: T, left: usize) -> Result<T, DecodeError> {
    if left == 0 { Ok(value) } else { Err(DecodeError(format!("{left} bytes are left after the value"))) }
}
