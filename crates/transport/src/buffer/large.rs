//! A large buffer of which an outbox is lent a range.

use bytes::Bytes;

/// What is lent to an outbox, and taken back when it is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Large {
    /// A buffer of whoever lends it.
    Own(Vec<u8>),
    /// Bytes that are others' too.
    Shared(Bytes),
}

impl AsRef<[u8]> for Large {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Large::Own(buffer) => buffer,
            Large::Shared(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Large {
    fn from(buffer: Vec<u8>) -> Self {
        Large::Own(buffer)
    }
}

impl From<Bytes> for Large {
    fn from(bytes: Bytes) -> Self {
        Large::Shared(bytes)
    }
}
