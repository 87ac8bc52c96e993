//! Finds whole records in whatever has been written to a one-way pipe.
//!
//! A record is found wherever it begins, whatever is before it, as soon as its last
//! byte has come: what looks like a record ends where another begins.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use super::record::{Look, Record, look, open};

/// What comes next in the pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// Bytes that are none.
    Noise(&'a [u8]),
    /// A record that was cut, or whose bytes have changed.
    Damaged(&'a [u8]),
}

/// Holds what has been read and not been looked at, and of a record that has begun
/// less than a record's bytes.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    bytes: Vec<u8>,
    /// How many of them are done with.
    at: usize,
    /// The body of the record that was found last.
    body: Vec<u8>,
}

impl Scanner {
    /// Adds what has been read.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What comes next; `None` until more has been read.
    pub(super) fn next(&mut self) -> Option<Found<'_>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let (n, is_record, is_noise) = match look(rest) {
            Look::Noise(n) => (n, false, true),
            Look::Damaged(n) => (n, false, false),
            Look::Record(n) => (n, true, false),
            Look::Begun => return None,
        };
        if is_noise {
            let noise = noise(rest, n);
            self.at = self.at.saturating_add(noise.len());
            return Some(Found::Noise(noise));
        }
        self.at = self.at.saturating_add(n);
        let bytes = &rest[..n];
        let record = if is_record { open(bytes, &mut self.body) } else { None };
        Some(record.map_or(Found::Damaged(bytes), Found::Record))
    }

    /// How many bytes are left of a record that has begun, when nothing more comes.
    pub(super) fn rest(&mut self) -> Option<usize> {
        let rest = self.bytes.len().saturating_sub(self.at);
        self.at = self.bytes.len();
        (rest > 0).then_some(rest)
    }
}

/// All noise at the beginning of `bytes`, of which the first `n` are known to be.
fn noise(bytes: &[u8], mut n: usize) -> &[u8] {
    while let Some(Look::Noise(more)) = bytes.get(n..).filter(|rest| !rest.is_empty()).map(look) {
        n = n.saturating_add(more);
    }
    &bytes[..n]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD;
    use crate::oneway::record::{MARKER, START, begin, finish};

    /// Numbers that look random, the same every time.
    struct Dice(u64);

    impl Dice {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() % end as u64) as usize
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.next() as u8).collect()
        }
    }

    fn record(number: u64, args: &[u8]) -> Vec<u8> {
        let mut body = begin(number, 1, 2);
        body.extend_from_slice(args);
        finish(&body, RECORD).unwrap()
    }

    /// What a shell, a program gone wrong and a killed writer leave.
    fn noise(dice: &mut Dice) -> Vec<u8> {
        let len = dice.below(300);
        match dice.below(7) {
            0 => b"hello, this is a line of a shell script\n".repeat(1 + len % 4),
            1 => dice.bytes(len),
            2 => vec![START; len],
            3 => MARKER.repeat(1 + len % 5),
            // A head that claims as much as there may be.
            4 => [&MARKER[..], &[0, 0, 0, 0, 0, 0x70, 0x1f], &vec![b'x'; len]].concat(),
            // A record that was cut.
            5 => {
                let mut cut = record(u64::MAX, &dice.bytes(len));
                cut.truncate(1 + len % (cut.len() - 1));
                cut
            }
            // One in which a bit is not what it was.
            _ => {
                let mut flipped = record(u64::MAX, &dice.bytes(len));
                let at = dice.below(flipped.len());
                flipped[at] ^= 1 << dice.below(8);
                flipped
            }
        }
    }

    /// The services of the records, which are their numbers here.
    fn scan(chunks: &[&[u8]]) -> Vec<u64> {
        let mut scanner = Scanner::default();
        let (mut found, mut seen) = (Vec::new(), 0);
        for chunk in chunks {
            scanner.feed(chunk);
            while let Some(next) = scanner.next() {
                match next {
                    Found::Record(record) => found.push(record.service),
                    Found::Noise(bytes) | Found::Damaged(bytes) => {
                        assert!(!bytes.is_empty());
                        seen += bytes.len();
                    }
                }
            }
            assert!(scanner.bytes.len() - scanner.at < RECORD, "what has begun is shorter than a record");
        }
        let all: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        assert!(seen <= all);
        found
    }

    #[test]
    fn every_whole_record_is_found_and_none_that_was_not_written() {
        let mut dice = Dice(0x1234_5678_9abc_def1);
        for _ in 0..500 {
            let mut bytes = Vec::new();
            let mut written = Vec::new();
            for number in 0..dice.below(6) as u64 {
                bytes.extend(noise(&mut dice));
                let len = [0, 10, 300, 3900][dice.below(4)];
                bytes.extend(record(number, &dice.bytes(len)));
                written.push(number);
            }
            bytes.extend(noise(&mut dice));
            assert_eq!(scan(&[&bytes]), written);
            // In pieces of every kind.
            let most = 1 + dice.below(700);
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(rest.len().min(1 + dice.below(most)));
                chunks.push(chunk);
                rest = tail;
            }
            assert_eq!(scan(&chunks), written);
        }
    }

    #[test]
    fn records_are_found_behind_every_cut_of_another_at_every_offset_of_reading() {
        let (cut, whole) = (record(1, b"cut \x89way here"), record(2, b"whole"));
        for at in 0..=cut.len() {
            let bytes = [&cut[..at], &whole[..]].concat();
            let expected: &[u64] = if at == cut.len() { &[1, 2] } else { &[2] };
            for offset in 0..=bytes.len() {
                assert_eq!(
                    scan(&[&bytes[..offset], &bytes[offset..]]),
                    expected,
                    "cut at {at}, read at {offset}"
                );
            }
        }
    }

    #[test]
    fn a_record_is_not_waited_with_for_what_only_looks_like_one() {
        let mut scanner = Scanner::default();
        scanner.feed(&MARKER);
        assert_eq!(scanner.next(), None);
        scanner.feed(&record(5, b"now"));
        assert_eq!(scanner.next(), Some(Found::Damaged(&MARKER)));
        assert!(matches!(scanner.next(), Some(Found::Record(Record { service: 5, .. }))));
        assert_eq!(scanner.next(), None);
        assert_eq!(scanner.rest(), None);
    }

    #[test]
    fn a_record_inside_a_damaged_ones_arguments_is_none() {
        let inner = record(6, b"smuggled");
        let mut outer = record(7, &inner);
        assert_eq!(scan(&[&outer]), [7]);
        for at in 0..outer.len() {
            outer[at] ^= 0x55;
            assert!(scan(&[&outer]).is_empty(), "byte {at}");
            outer[at] ^= 0x55;
            assert!(scan(&[&outer[at.max(1)..]]).is_empty(), "from {at}");
        }
    }

    #[test]
    fn megabytes_of_noise_take_no_memory() {
        let mut dice = Dice(42);
        let mut scanner = Scanner::default();
        let mut most = 0;
        for _ in 0..500 {
            scanner.feed(&dice.bytes(4 << 10));
            while scanner.next().is_some() {}
            most = most.max(scanner.bytes.capacity());
        }
        assert!(most <= 4 * (RECORD + (4 << 10)), "{most}");
        assert!(scanner.rest().is_none_or(|rest| rest < RECORD));
    }
}
