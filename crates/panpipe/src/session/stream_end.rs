//! How a stream ends, as the body of an End.

use panpipe_transport::varint;

use super::message::{put_str, take_str};
use super::reply::clipped;
use crate::limits;

/// How a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// All items have been sent.
    Finished,
    /// What made the items panicked.
    Panicked,
    /// Its items came from another process, which is gone.
    Disconnected,
    /// An item cannot be encoded or decoded.
    Malformed(String),
    /// An item is larger than the reader takes.
    TooLarge { size: u64, limit: u64 },
    /// The writing end came with a message that nobody took it from.
    Unclaimed,
}

impl StreamEnd {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            StreamEnd::Finished => 0,
            StreamEnd::Panicked => 1,
            StreamEnd::Disconnected => 2,
            StreamEnd::Malformed(_) => 3,
            StreamEnd::TooLarge { .. } => 4,
            StreamEnd::Unclaimed => 5,
        });
        match self {
            StreamEnd::Malformed(why) => put_str(out, clipped(why)),
            StreamEnd::TooLarge { size, limit } => {
                varint::put(out, *size);
                varint::put(out, *limit);
            }
            _ => {}
        }
    }

    /// Reads an End's body. `None` if it cannot be read.
    pub(crate) fn decode(body: &[u8]) -> Option<StreamEnd> {
        let (status, mut rest) = body.split_first()?;
        Some(match status {
            0 => StreamEnd::Finished,
            1 => StreamEnd::Panicked,
            2 => StreamEnd::Disconnected,
            3 => StreamEnd::Malformed(take_str(&mut rest, limits::WORDS)?.to_owned()),
            4 => StreamEnd::TooLarge { size: varint::take(&mut rest)?, limit: varint::take(&mut rest)? },
            5 => StreamEnd::Unclaimed,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_reads_back_as_written() {
        for end in [
            StreamEnd::Finished,
            StreamEnd::Panicked,
            StreamEnd::Disconnected,
            StreamEnd::Malformed("no".to_owned()),
            StreamEnd::TooLarge { size: 5000, limit: 4096 },
            StreamEnd::Unclaimed,
        ] {
            let mut body = Vec::new();
            end.encode(&mut body);
            assert_eq!(StreamEnd::decode(&body), Some(end));
        }
        assert_eq!(StreamEnd::decode(&[]), None);
        assert_eq!(StreamEnd::decode(&[77]), None);
        assert_eq!(StreamEnd::decode(&[4, 0x80]), None);
    }
}
