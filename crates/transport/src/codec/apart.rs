//! A large block of bytes that is left out of what a codec appends, since it goes out
//! from where it stands.

use std::cell::Cell;

use crate::limits::SHARED_BLOCK;

/// The block that is to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Nothing,
    /// Where it stands, and how long it is.
    Shown(usize, usize),
    /// It was left out; it belongs behind so much of the output.
    LeftOut(usize),
}

thread_local! {
    static BLOCK: Cell<Block> = const { Cell::new(Block::Nothing) };
}

/// Runs `encode`, in which a codec is shown `block`, and leaves it out of its output if it
/// [appends](append) blocks as they are. Gives where in the output it belongs then; nothing
/// where the output is whole: the codec writes it otherwise, or it is short.
///
/// For who serializes a value of which `block` is a part, and knows that whoever encodes
/// it will put the block there.
pub fn leave_out<R>(block: &[u8], encode: impl FnOnce() -> R) -> (R, Option<usize>) {
    /// Also where a `Serialize` panics.
    struct Scope(Block);
    impl Drop for Scope {
        fn drop(&mut self) {
            BLOCK.set(self.0);
        }
    }
    let _scope = Scope(BLOCK.replace(Block::Shown(block.as_ptr() as usize, block.len())));
    let result = encode();
    let at = match BLOCK.get() {
        Block::LeftOut(at) => Some(at),
        Block::Nothing | Block::Shown(..) => None,
    };
    (result, at)
}

/// Appends bytes to a codec's output, or leaves them out where they are the block that is
/// to [be left out](leave_out). For codecs, which write blocks through it.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() < SHARED_BLOCK || !is_left_out(out.len(), bytes) {
        out.extend_from_slice(bytes);
    }
}

#[cold]
fn is_left_out(at: usize, bytes: &[u8]) -> bool {
    let is_it = BLOCK.get() == Block::Shown(bytes.as_ptr() as usize, bytes.len());
    if is_it {
        BLOCK.set(Block::LeftOut(at));
    }
    is_it
}

#[cfg(test)]
#[cfg(all(feature = "bincode", feature = "json", feature = "messagepack", feature = "postcard"))]
mod tests {
    use serde::{Serialize, Serializer};

    use super::*;
    use crate::codec::{Bincode, Codec, Json, MessagePack, Postcard};

    struct Block<'a>(&'a [u8]);

    impl Serialize for Block<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    /// The encoding of `value` while `block` may be left out, and where it was.
    fn encoded(codec: &impl Codec, value: &impl Serialize, block: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut out = b"before".to_vec();
        let (result, at) = leave_out(block, || codec.encode(value, &mut out));
        result.unwrap();
        (out, at)
    }

    fn check(codec: &impl Codec) {
        let block: Vec<u8> = (0..SHARED_BLOCK).map(|at| at as u8).collect();
        let value = (7u32, Block(&block), "after");
        let whole = encoded(codec, &value, b"").0;
        let (mut out, at) = encoded(codec, &value, &block);
        assert_eq!(out.len() + block.len(), whole.len());
        let at = at.unwrap();
        out.splice(at..at, block.iter().copied());
        assert_eq!(out, whole);
        // Neither another block, though of the same bytes, nor a short one.
        assert_eq!(encoded(codec, &value, &block.clone()), (whole.clone(), None));
        assert_eq!(encoded(codec, &(7u32, Block(&block[1..]), "after"), &block[1..]).1, None);
        assert_eq!(encoded(codec, &value, b""), (whole, None));
    }

    #[test]
    fn a_block_is_left_out_where_it_belongs_and_no_other() {
        check(&Bincode);
        check(&MessagePack);
        check(&Postcard);
    }

    #[test]
    fn text_is_always_whole() {
        let block = vec![1; SHARED_BLOCK];
        let (out, at) = encoded(&Json, &Block(&block), &block);
        assert_eq!((out.len() > block.len(), at), (true, None));
    }
}
