//! The codec of a connection, chosen at run time by its hello.

use panpipe_transport::codec::{Codec as _, TypeCheck};
use serde::{Serialize, de::DeserializeOwned};

use crate::limits::MAX_DEPTH;

#[cfg(not(any(feature = "bincode", feature = "postcard", feature = "messagepack", feature = "json")))]
compile_error!(
    "panpipe needs a codec: enable one of the features `bincode`, `postcard`, `messagepack`, `json`"
);

/// How arguments and replies become bytes on a connection.
///
/// The side that connects chooses; the other side refuses a codec that it was
/// built without. Each codec is a feature of this crate, `bincode` is on by
/// default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// bincode 2 with fixed-width little-endian integers.
    #[cfg(feature = "bincode")]
    Bincode,
    /// postcard: the smallest messages.
    #[cfg(feature = "postcard")]
    Postcard,
    /// MessagePack, for peers in other languages.
    #[cfg(feature = "messagepack")]
    MessagePack,
    /// JSON, for peers in other languages and for people.
    #[cfg(feature = "json")]
    Json,
}

macro_rules! each_codec {
    ($codec:expr, $c:ident => $body:expr) => {
        match $codec {
            #[cfg(feature = "bincode")]
            Codec::Bincode => {
                let $c = panpipe_transport::codec::Bincode;
                $body
            }
            #[cfg(feature = "postcard")]
            Codec::Postcard => {
                let $c = panpipe_transport::codec::Postcard;
                $body
            }
            #[cfg(feature = "messagepack")]
            Codec::MessagePack => {
                let $c = panpipe_transport::codec::MessagePack;
                $body
            }
            #[cfg(feature = "json")]
            Codec::Json => {
                let $c = panpipe_transport::codec::Json;
                $body
            }
        }
    };
}

impl Codec {
    /// Every codec that this build has, the default first.
    pub(crate) const BUILT_IN: &'static [Codec] = &[
        #[cfg(feature = "bincode")]
        Codec::Bincode,
        #[cfg(feature = "postcard")]
        Codec::Postcard,
        #[cfg(feature = "messagepack")]
        Codec::MessagePack,
        #[cfg(feature = "json")]
        Codec::Json,
    ];

    /// The number that names the codec in a hello.
    pub(crate) fn id(self) -> u64 {
        match self {
            #[cfg(feature = "bincode")]
            Codec::Bincode => 1,
            #[cfg(feature = "postcard")]
            Codec::Postcard => 2,
            #[cfg(feature = "messagepack")]
            Codec::MessagePack => 3,
            #[cfg(feature = "json")]
            Codec::Json => 4,
        }
    }

    /// How many codecs there are, in every build.
    pub(crate) const COUNT: u32 = 4;

    /// A number below [`COUNT`](Self::COUNT).
    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.id() as u32 - 1
    }

    pub(crate) fn from_id(id: u64) -> Option<Codec> {
        Self::BUILT_IN.iter().copied().find(|codec| codec.id() == id)
    }

    #[inline]
    pub(crate) fn encode<T: Serialize>(self, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        each_codec!(self, c => c.encode(value, out).map_err(|error| error.to_string()))
    }

    /// Checks whether the codec carries the values of a type.
    pub(crate) fn check<T: Serialize + DeserializeOwned>(self) -> Result<TypeCheck, String> {
        each_codec!(self, c => c.check::<T>().map_err(|error| error.to_string()))
    }

    /// Checks that a value can be decoded after it was encoded.
    pub(crate) fn verify<T: Serialize + DeserializeOwned>(self, value: &T) -> Result<(), String> {
        each_codec!(self, c => c.verify(value).map_err(|error| error.to_string()))
    }

    #[cfg(test)]
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        Decoder::from(self).decode(bytes)
    }
}

/// How a connection's messages are decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    pub(crate) codec: Codec,
    /// How deep a value nests at most, in serde's levels.
    pub(crate) max_depth: u32,
}

impl Decoder {
    #[inline]
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        each_codec!(self.codec, c => c.decode_nested(bytes, self.max_depth).map_err(|error| error.to_string()))
    }
}

impl From<Codec> for Decoder {
    /// With the default limit.
    fn from(codec: Codec) -> Self {
        Decoder { codec, max_depth: MAX_DEPTH }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::from(Codec::default())
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::BUILT_IN[0]
    }
}
