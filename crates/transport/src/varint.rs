//! Unsigned integers in as few bytes as they need: seven bits a byte, the
//! lowest first, the high bit set on all bytes but the last (LEB128).

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// The longest encoding, in bytes: that of `u64::MAX`.
pub const MAX_LEN: usize = 10;

/// Appends `value` to `out`.
#[inline]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a value off the front of `rest`.
///
/// `None` when the bytes end too early, the value is over `u64::MAX`, or its
/// encoding is longer than need be; `rest` is then left anywhere.
#[inline]
pub fn take(rest: &mut &[u8]) -> Option<u64> {
    // Nearly all are short.
    match rest.split_first() {
        Some((&byte, tail)) if byte < 0x80 => {
            *rest = tail;
            Some(u64::from(byte))
        }
        _ => take_long(rest),
    }
}

fn take_long(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for index in 0..MAX_LEN {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if index == MAX_LEN - 1 && bits > 1 {
            return None;
        }
        value |= bits << index.saturating_mul(7);
        if byte & 0x80 == 0 {
            // A last byte of nought is one byte too many.
            return (byte != 0 || index == 0).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_as_written() {
        for value in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut rest = &out[..];
            assert_eq!(take(&mut rest), Some(value));
            assert!(rest.is_empty());
            for cut in 0..out.len() {
                assert_eq!(take(&mut &out[..cut]), None, "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn long_and_overlong_encodings_are_refused() {
        assert_eq!(take(&mut &[0x80, 0x00][..]), None);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
        let mut over = [0xff; 10];
        over[9] = 0x02;
        assert_eq!(take(&mut &over[..]), None);
    }
}
