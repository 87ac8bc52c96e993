//! One copy of a large message, in one process.

use std::hint::black_box;

use crate::blocking_work::rate;
use crate::job::LARGE;

pub(super) fn run() -> Vec<f64> {
    let (from, mut to) = (vec![7u8; LARGE], vec![0u8; LARGE]);
    vec![rate(|| black_box(&mut to).copy_from_slice(black_box(&from)))]
}
