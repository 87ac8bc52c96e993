//! Gives memory that a thread has freed back to the system.

use std::mem::MaybeUninit;

/// The size and the largest number of the blocks that are given back.
const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 64;

/// Gives memory that this thread has freed back to the system.
///
/// glibc's allocator has an arena for each of many threads, and keeps up to 64 MiB free at the end
/// of each: twice the largest block that the process has freed so far. It offers no way to give that
/// back but settings of the whole process, which are the user's. So this takes the free memory in
/// blocks, gives their pages back, and frees them: the arena keeps addresses without memory.
pub(crate) fn give_back_free_memory() {
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let mut block = Vec::new();
        if block.try_reserve_exact(BLOCK).is_err() {
            return;
        }
        discard(block.spare_capacity_mut());
        blocks.push(block);
    }
}

/// Gives the whole pages of some memory back. They read as zeros from here on.
fn discard(memory: &mut [MaybeUninit<u8>]) {
    let page = page_size();
    let before = memory.as_ptr().align_offset(page);
    let Some(pages) = memory.get_mut(before..) else { return };
    let len = pages.len() / page * page;
    // SAFETY: the pages are inside of memory that is borrowed mutably and holds no values.
    unsafe {
        // What fails gives nothing back, and changes nothing.
        libc::madvise(pages.as_mut_ptr().cast(), len, libc::MADV_DONTNEED);
    }
}

fn page_size() -> usize {
    // SAFETY: the call takes a number and touches no memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_discarded() {
        let mut memory: Vec<MaybeUninit<u8>> = vec![MaybeUninit::new(7); 3 * page_size()];
        let (first, len) = (memory.as_ptr().addr(), memory.len());
        discard(&mut memory[1..]);
        // SAFETY: all of it was initialised, and discarded pages read as zeros.
        let bytes: Vec<u8> = memory.iter().map(|byte| unsafe { byte.assume_init() }).collect();
        let page = page_size();
        let whole = (first + 1).next_multiple_of(page)..(first + len) / page * page;
        assert!(bytes.iter().enumerate().all(|(at, &byte)| whole.contains(&(first + at)) || byte == 7));
        give_back_free_memory();
    }
}
