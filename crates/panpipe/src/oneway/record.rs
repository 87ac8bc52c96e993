//! One call as a record: what stands in a one-way pipe. Pure functions on bytes.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::limits::RECORD;
use crate::session::{ServiceInfo, take_u64};

/// The byte that begins a record, and stands nowhere else in one. No text can begin
/// with it: it is no first byte of UTF-8, and no character of ASCII.
pub(super) const START: u8 = 0x89;
/// The bytes that begin a record.
pub(super) const MARKER: [u8; 4] = [START, b'w', b'a', b'y'];
/// How many bytes have seven bits of the checksum each, and of the length.
const SUM: usize = 5;
const LENGTH: usize = 2;
/// Where the length stands, and where the body.
const LENGTH_AT: usize = MARKER.len() + SUM;
pub(super) const HEAD: usize = LENGTH_AT + LENGTH;
/// The bytes of a body before its arguments: service, codec and method.
const BEFORE_ARGS: usize = 8 + 1 + 8;

/// A call, out of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// The hash of the service's name and version.
    pub(super) service: u64,
    /// The number of the codec, as in a hello.
    pub(super) codec: u8,
    pub(super) method: u64,
    pub(super) args: &'a [u8],
}

/// A record that is too large to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) size: usize,
}

/// The hash that stands for a service in a record: that of its name, a space and its
/// version, as of a method's signature.
pub(super) fn service_hash(info: &ServiceInfo) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{} {}", info.name(), info.version()).bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Begins a body; the arguments are to be appended.
pub(super) fn begin(service: u64, codec: u8, method: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    body.extend_from_slice(&service.to_le_bytes());
    body.push(codec);
    body.extend_from_slice(&method.to_le_bytes());
    body
}

/// The record of a body, at most `max` bytes long.
pub(super) fn finish(body: &[u8], max: usize) -> Result<Vec<u8>, TooLarge> {
    // At least one byte is added to a body so that none of it is a START.
    let least = body.len().saturating_add(HEAD + 1);
    if least > max {
        return Err(TooLarge { size: least });
    }
    let mut record = vec![0; cobs::max_encoding_length(body.len()).saturating_add(HEAD)];
    let length = cobs::encode_with_sentinel(body, &mut record[HEAD..], START);
    record.truncate(length.saturating_add(HEAD));
    if record.len() > max {
        return Err(TooLarge { size: record.len() });
    }
    record[..MARKER.len()].copy_from_slice(&MARKER);
    put_sevens(&mut record[LENGTH_AT..HEAD], length as u32);
    let sum = crc32fast::hash(&record[LENGTH_AT..]);
    put_sevens(&mut record[MARKER.len()..LENGTH_AT], sum);
    Ok(record)
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// So many that are no record.
    Noise(usize),
    /// So many of one that was cut, or whose bytes have changed.
    Damaged(usize),
    /// A whole one of so many.
    Record(usize),
    /// The first of one, so far.
    Begun,
}

/// Says what is at the beginning of `bytes`, which are not empty.
pub(super) fn look(bytes: &[u8]) -> Look {
    let to_start = |from: usize| position(&bytes[from..]).saturating_add(from);
    if bytes[0] != START {
        return Look::Noise(to_start(0));
    }
    let marked = bytes.len().min(MARKER.len());
    if bytes[..marked] != MARKER[..marked] {
        return Look::Noise(to_start(1));
    }
    let head = &bytes[marked..bytes.len().min(HEAD)];
    // The last byte of the sum has its highest bits only.
    let is_over = head.get(SUM - 1).is_some_and(|&byte| byte > 0x0f);
    if is_over || head.iter().any(|&byte| byte >= 0x80) {
        return Look::Damaged(to_start(1));
    }
    if bytes.len() < HEAD {
        return Look::Begun;
    }
    let length = sevens(&bytes[LENGTH_AT..HEAD]) as usize;
    if !(BEFORE_ARGS + 1..=RECORD - HEAD).contains(&length) {
        return Look::Damaged(to_start(HEAD));
    }
    // No whole record has another START: where there is one, this was cut.
    let whole = length.saturating_add(HEAD);
    let end = whole.min(bytes.len());
    let next = position(&bytes[HEAD..end]).saturating_add(HEAD);
    if next < end {
        return Look::Damaged(next);
    }
    if end < whole {
        return Look::Begun;
    }
    if crc32fast::hash(&bytes[LENGTH_AT..end]) != sevens(&bytes[MARKER.len()..LENGTH_AT]) {
        return Look::Damaged(end);
    }
    Look::Record(end)
}

/// Where the next record may begin; behind all bytes if there is no START.
fn position(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == START).unwrap_or(bytes.len())
}

/// The call in a whole record; `body` is where its body is put. `None` if its sum is
/// right and it is no call all the same.
pub(super) fn open<'a>(record: &[u8], body: &'a mut Vec<u8>) -> Option<Record<'a>> {
    let stuffed = record.get(HEAD..)?;
    body.resize(stuffed.len(), 0);
    let length = cobs::decode_with_sentinel(stuffed, body, START).ok()?;
    let mut rest = body.get(..length)?;
    let service = take_u64(&mut rest)?;
    let (&codec, tail) = rest.split_first()?;
    rest = tail;
    let method = take_u64(&mut rest)?;
    Some(Record { service, codec, method, args: rest })
}

/// Puts a number into bytes of seven bits, the lowest first.
fn put_sevens(out: &mut [u8], mut value: u32) {
    for byte in out {
        *byte = (value & 0x7f) as u8;
        value >>= 7;
    }
}

/// Takes it out.
fn sevens(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| (value << 7) | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(args: &[u8]) -> Vec<u8> {
        let mut body = begin(7, 1, 9);
        body.extend_from_slice(args);
        finish(&body, RECORD).unwrap()
    }

    #[test]
    fn a_record_reads_back_as_written_and_has_one_start() {
        for len in [0, 1, 253, 254, 255, 600, 4000] {
            for byte in [0, 1, START, 0xff] {
                let args = vec![byte; len];
                let record = record_of(&args);
                assert_eq!(record.iter().filter(|&&byte| byte == START).count(), 1);
                assert_eq!(look(&record), Look::Record(record.len()));
                let mut body = Vec::new();
                let call = open(&record, &mut body).unwrap();
                assert_eq!(call, Record { service: 7, codec: 1, method: 9, args: &args });
            }
        }
    }

    #[test]
    fn what_is_too_large_is_told_by_its_size() {
        let mut body = begin(7, 1, 9);
        body.resize(RECORD - HEAD - 16, 1);
        let size = finish(&body, RECORD).unwrap().len();
        assert_eq!(size, RECORD);
        body.push(1);
        assert_eq!(finish(&body, RECORD), Err(TooLarge { size: RECORD + 1 }));
        body.resize(1 << 20, 1);
        assert!(finish(&body, RECORD).unwrap_err().size > 1 << 20);
        assert_eq!(finish(&body[..100], 100), Err(TooLarge { size: 100 + HEAD + 1 }));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let record = record_of(b"some arguments, and \x89way a marker among them");
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(look(&flipped), Look::Record(_)), "bit {bit}");
        }
        for cut in 1..record.len() {
            assert_eq!(look(&record[..cut]), Look::Begun, "cut at {cut}");
            // What comes behind a cut one is seen with its first byte.
            let mut followed = record[..cut].to_vec();
            followed.extend_from_slice(&record[..1]);
            let passed = look(&followed);
            assert!(
                matches!(passed, Look::Damaged(n) | Look::Noise(n) if n == cut),
                "cut at {cut}: {passed:?}"
            );
        }
    }

    #[test]
    fn two_versions_are_two_services() {
        let hash = |name: &'static str, version| service_hash(&ServiceInfo::new(name, version));
        assert_ne!(hash("Log", 1), hash("Log", 2));
        assert_ne!(hash("Log", 1), hash("Logs", 1));
    }
}
