//! Buffers that a thread lends to its connections while they have bytes.
//!
//! Two kinds: empty ones to append to, and initialised ones to read into, which
//! keep their length so that reading again costs no clearing.
//!
//! Of the large ones of the second kind a thread keeps few, and the process some more: in
//! a runtime of many threads messages are mostly dropped on other threads than are read on.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, PoisonError};
use std::thread::LocalKey;

use crate::limits::{POOL_BUFFER, POOL_BUFFERS, POOL_LARGE, READ_CHUNK};
use crate::sys;

/// Below this a buffer is not worth keeping.
pub(super) const LEAST: usize = 1024;

/// Buffers of one kind, of which the top is lent first. Each has a capacity.
struct Stack {
    /// Apart from the others, since nearly always it is the only one: none if it has no
    /// capacity.
    top: Cell<Vec<u8>>,
    rest: RefCell<Vec<Vec<u8>>>,
}

thread_local! {
    static EMPTY: Stack = const { Stack::new() };
    static INITIALISED: Stack = const { Stack::new() };
}

thread_local! {
    /// Whether this thread has been done with a buffer of at least `POOL_BUFFER` bytes.
    static HAS_HAD_LARGE: Cell<bool> = const { Cell::new(false) };
}

/// Large ones to read into, of any thread.
static COMMON: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

impl Stack {
    const fn new() -> Stack {
        Stack { top: Cell::new(Vec::new()), rest: RefCell::new(Vec::new()) }
    }

    #[inline]
    fn pop(&self) -> Option<Vec<u8>> {
        let top = self.top.take();
        if top.capacity() > 0 { Some(top) } else { self.rest.borrow_mut().pop() }
    }

    #[inline]
    fn push(&self, buffer: Vec<u8>) {
        let below = self.top.replace(buffer);
        if below.capacity() > 0 {
            self.push_below(below);
        }
    }

    fn push_below(&self, buffer: Vec<u8>) {
        let mut rest = self.rest.borrow_mut();
        if rest.len() >= POOL_BUFFERS - 1 {
            rest.remove(0);
        }
        rest.push(buffer);
    }

    /// Puts it below all others, if there are not too many.
    #[inline]
    fn push_last(&self, buffer: Vec<u8>) {
        let below = self.top.replace(buffer);
        if below.capacity() > 0 || !self.rest.borrow().is_empty() {
            let buffer = self.top.replace(below);
            let mut rest = self.rest.borrow_mut();
            if rest.len() < POOL_BUFFERS - 1 {
                rest.insert(0, buffer);
            }
        }
    }

    /// All of them, the top last.
    fn with_all<R>(&self, f: impl FnOnce(&mut Vec<Vec<u8>>) -> R) -> R {
        let mut rest = self.rest.borrow_mut();
        let top = self.top.take();
        if top.capacity() > 0 {
            rest.push(top);
        }
        let result = f(&mut rest);
        self.top.set(rest.pop().unwrap_or_default());
        result
    }
}

/// The buffer that `choose` says the index of.
fn take_chosen(
    stack: &'static LocalKey<Stack>,
    choose: impl FnOnce(&[Vec<u8>]) -> Option<usize>,
) -> Option<Vec<u8>> {
    // Gone while the thread ends; then there is nothing to reuse.
    let take = |stack: &Stack| stack.with_all(|all| choose(all).map(|at| all.remove(at)));
    stack.try_with(take).ok().flatten()
}

/// An empty buffer, with whatever capacity it was left with: at least enough to be
/// kept when it comes back.
#[inline]
pub(super) fn lend() -> Vec<u8> {
    EMPTY.try_with(Stack::pop).ok().flatten().unwrap_or_else(|| Vec::with_capacity(LEAST))
}

/// The empty buffer with the largest capacity, for much at once.
pub(super) fn lend_large() -> Vec<u8> {
    let largest = |pool: &[Vec<u8>]| (0..pool.len()).max_by_key(|&at| pool[at].capacity());
    take_chosen(&EMPTY, largest).unwrap_or_default()
}

/// An empty buffer for `len` bytes that somebody may keep: none of many times that.
pub(super) fn lend_fitting(len: usize) -> Vec<u8> {
    let fitting = |pool: &[Vec<u8>]| pool.iter().position(|buffer| fits(buffer.capacity(), len));
    take_chosen(&EMPTY, fitting).unwrap_or_else(|| Vec::with_capacity(len))
}

/// Whether a buffer of `capacity` is not far too large to be kept for `len` bytes.
pub(super) fn fits(capacity: usize, len: usize) -> bool {
    (len..=len.saturating_mul(4).max(LEAST)).contains(&capacity)
}

/// A buffer of at least `READ_CHUNK` bytes to read into: the smallest, so that
/// the larger ones are left for who has much to read.
#[inline]
pub(super) fn lend_to_read() -> Vec<u8> {
    match INITIALISED.try_with(|stack| stack.top.take()) {
        Ok(top) if top.len() == READ_CHUNK => top,
        top => lend_smallest_to_read(top.unwrap_or_default()),
    }
}

/// The same where `top` was on top.
#[cold]
fn lend_smallest_to_read(top: Vec<u8>) -> Vec<u8> {
    if top.capacity() > 0 {
        give_back(top);
    }
    let smallest = |pool: &[Vec<u8>]| (0..pool.len()).min_by_key(|&at| pool[at].len());
    take_chosen(&INITIALISED, smallest).unwrap_or_else(|| vec![0; READ_CHUNK])
}

/// The largest buffer to read into, if there is one of over `least` bytes.
pub(super) fn lend_larger_to_read(least: usize) -> Option<Vec<u8>> {
    let largest = |pool: &[Vec<u8>]| {
        let larger = (0..pool.len()).filter(|&at| pool[at].len() > least);
        larger.max_by_key(|&at| pool[at].len())
    };
    take_chosen(&INITIALISED, largest).or_else(|| {
        let mut common = COMMON.lock().unwrap_or_else(PoisonError::into_inner);
        largest(&common).map(|at| common.swap_remove(at))
    })
}

/// Whether this thread has as many large buffers to read into as it keeps.
fn has_large_ones() -> bool {
    let large =
        |stack: &Stack| stack.with_all(|all| all.iter().filter(|buffer| buffer.len() > READ_CHUNK).count());
    INITIALISED.try_with(large).is_ok_and(|large| large >= POOL_LARGE)
}

#[cold]
fn give_back_large(buffer: Vec<u8>) {
    if !has_large_ones() {
        let _ = INITIALISED.try_with(|stack| stack.push(buffer));
        return;
    }
    let mut common = COMMON.lock().unwrap_or_else(PoisonError::into_inner);
    if common.len() < POOL_BUFFERS {
        common.push(buffer);
    } else if let Some(smallest) = common.iter_mut().min_by_key(|buffer| buffer.len()) {
        if smallest.len() < buffer.len() {
            *smallest = buffer;
        }
    }
}

/// Takes a buffer back, or frees it when it is too small, too large or too many.
#[inline]
pub(super) fn give_back(buffer: Vec<u8>) {
    if buffer.len() == READ_CHUNK && buffer.capacity() <= POOL_BUFFER {
        let _ = INITIALISED.try_with(|stack| stack.push(buffer));
    } else if buffer.len() > READ_CHUNK && buffer.capacity() <= POOL_BUFFER {
        give_back_large(buffer);
    } else {
        give_back_written(buffer);
    }
}

/// Gives what large messages have taken on this thread back to the system.
pub(super) fn give_back_memory() {
    if HAS_HAD_LARGE.try_with(Cell::take).unwrap_or(false) {
        for stack in [&EMPTY, &INITIALISED] {
            let _ = stack.try_with(|stack| stack.with_all(Vec::clear));
        }
        sys::give_back_free_memory();
    }
}

/// The same for a buffer that was appended to.
#[inline]
pub(super) fn give_back_written(mut buffer: Vec<u8>) {
    if buffer.capacity() < LEAST || buffer.capacity() > POOL_BUFFER {
        if buffer.capacity() > POOL_BUFFER {
            let _ = HAS_HAD_LARGE.try_with(|had| had.set(true));
        }
        return;
    }
    buffer.clear();
    // The next message may be large: the larger ones are lent first.
    let is_small = buffer.capacity() < READ_CHUNK;
    let _ = EMPTY.try_with(|stack| if is_small { stack.push_last(buffer) } else { stack.push(buffer) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_again_and_neither_many_nor_huge_ones_are_kept() {
        give_back(Vec::with_capacity(5000));
        assert!(lend().capacity() >= 5000);
        give_back(Vec::with_capacity(POOL_BUFFER * 2));
        assert_eq!(lend().capacity(), LEAST);
        for _ in 0..POOL_BUFFERS * 2 {
            give_back(Vec::with_capacity(LEAST));
            give_back(vec![0; READ_CHUNK]);
        }
        assert_eq!(EMPTY.with(|stack| stack.with_all(|all| all.len())), POOL_BUFFERS);
        assert_eq!(INITIALISED.with(|stack| stack.with_all(|all| all.len())), POOL_BUFFERS);
    }

    #[test]
    fn who_needs_much_gets_the_largest_and_who_needs_little_the_smallest() {
        for chunks in [2, 1, 4] {
            give_back(vec![0; chunks * READ_CHUNK]);
            give_back(Vec::with_capacity(chunks * READ_CHUNK));
        }
        let lent = lend_larger_to_read(READ_CHUNK).map(|buffer| buffer.len());
        assert_eq!(lent, Some(4 * READ_CHUNK));
        // None is left but of other threads.
        assert!(lend_larger_to_read(3 * READ_CHUNK).is_none_or(|buffer| buffer.len() > 3 * READ_CHUNK));
        assert_eq!(lend_to_read().len(), READ_CHUNK);
        assert_eq!(lend_to_read().len(), 2 * READ_CHUNK);
        assert_eq!(lend_large().capacity(), 4 * READ_CHUNK);
    }

    #[test]
    fn what_one_thread_has_too_many_of_another_reads_into() {
        // Larger than any other test's.
        const CHUNKS: usize = POOL_BUFFER / READ_CHUNK;
        let thread = std::thread::spawn(|| {
            (0..=POOL_LARGE).for_each(|_| give_back(vec![0; CHUNKS * READ_CHUNK]));
        });
        thread.join().unwrap();
        let lent = lend_larger_to_read((CHUNKS - 1) * READ_CHUNK).map(|buffer| buffer.len());
        assert_eq!(lent, Some(CHUNKS * READ_CHUNK));
        for _ in 0..4 * POOL_BUFFERS {
            give_back(vec![0; 2 * READ_CHUNK]);
        }
        assert_eq!(INITIALISED.with(|stack| stack.with_all(|all| all.len())), POOL_LARGE);
        assert!(COMMON.lock().unwrap().len() <= POOL_BUFFERS);
    }
}
