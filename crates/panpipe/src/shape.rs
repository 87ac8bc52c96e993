//! How the parts of arguments and results travel: blocks of bytes as one piece,
//! all else as serde takes it.
//!
//! serde knows a `Vec<u8>` as a sequence and takes it byte by byte. The macro
//! sees the types as they are written and says by a shape which of their parts
//! are blocks.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::NoError;
use crate::stream::{Sender, Streaming, WatchReceiver, WatchSender};
use crate::{carried, in_place};

/// How a `T` is serialized.
pub trait Shape<T> {
    /// Serializes `value`.
    ///
    /// # Errors
    ///
    /// As the serializer does.
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error>;

    /// Deserializes a value.
    ///
    /// # Errors
    ///
    /// As the deserializer does.
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>;
}

/// As serde takes it.
#[derive(Debug)]
pub struct Plain;

/// One block of bytes, if the type is `Vec<u8>` or `Bytes`.
#[derive(Debug)]
pub struct Block;

/// An option of a shape.
#[derive(Debug)]
pub struct Opt<S>(PhantomData<S>);

/// A result of shapes.
#[derive(Debug)]
pub struct Res<S, E>(PhantomData<(S, E)>);

/// A tuple of shapes.
#[derive(Debug)]
pub struct Tup<S>(PhantomData<S>);

/// Of what there are no values.
#[derive(Debug)]
pub struct Never;

impl<T: Serialize + for<'de> Deserialize<'de>> Shape<T> for Plain {
    #[inline]
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    #[inline]
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }
}

/// The macro sees a type's name only: a type of the user's that is named `Bytes` is [`Plain`].
/// Which one it is the compiler knows, so that no test is left at run time.
impl<T: Serialize + DeserializeOwned + 'static> Shape<T> for Block {
    #[inline]
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let any = value as &dyn Any;
        if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
            serializer.serialize_bytes(bytes)
        } else if let Some(bytes) = any.downcast_ref::<Bytes>() {
            carried::share(bytes, || serializer.serialize_bytes(bytes))
        } else {
            value.serialize(serializer)
        }
    }

    #[inline]
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() {
            Ok(same(deserializer.deserialize_byte_buf(BlockVisitor(<[u8]>::to_vec))?))
        } else if TypeId::of::<T>() == TypeId::of::<Bytes>() {
            Ok(same(deserializer.deserialize_byte_buf(BlockVisitor(in_place::block))?))
        } else {
            T::deserialize(deserializer)
        }
    }
}

/// A `B` as the `T` that it is.
#[inline]
fn same<B: 'static, T: 'static>(value: B) -> T {
    let mut value = Some(value);
    let same = (&mut value as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take);
    same.expect("both types are the same")
}

/// Makes a value of the bytes that it is shown.
struct BlockVisitor<T>(fn(&[u8]) -> T);

impl<'de, T: From<Vec<u8>>> Visitor<'de> for BlockVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block of bytes")
    }

    #[inline]
    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<T, E> {
        Ok((self.0)(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<T, E> {
        Ok(bytes.into())
    }

    /// Text formats have no blocks.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

/// Serializes a reference with a shape.
pub(crate) struct Ref<'a, S, T>(&'a T, PhantomData<S>);

impl<'a, S, T> Ref<'a, S, T> {
    #[inline]
    pub(crate) fn new(value: &'a T) -> Self {
        Ref(value, PhantomData)
    }
}

impl<S: Shape<T>, T> Serialize for Ref<'_, S, T> {
    #[inline]
    fn serialize<Ser: Serializer>(&self, serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
        S::serialize(self.0, serializer)
    }
}

impl<S: Shape<T>, T> Shape<Option<T>> for Opt<S> {
    #[inline]
    fn serialize<Ser: Serializer>(value: &Option<T>, serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
        value.as_ref().map(Ref::<S, T>::new).serialize(serializer)
    }

    #[inline]
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Ok(Option::<Wired<S, T>>::deserialize(deserializer)?.map(Wired::into_inner))
    }
}

impl<S: Shape<T>, SE: Shape<E>, T, E> Shape<Result<T, E>> for Res<S, SE> {
    #[inline]
    fn serialize<Ser: Serializer>(value: &Result<T, E>, serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
        value.as_ref().map(Ref::<S, T>::new).map_err(Ref::<SE, E>::new).serialize(serializer)
    }

    #[inline]
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<T, E>, D::Error> {
        let result = Result::<Wired<S, T>, Wired<SE, E>>::deserialize(deserializer)?;
        Ok(result.map(Wired::into_inner).map_err(Wired::into_inner))
    }
}

impl Shape<NoError> for Never {
    fn serialize<S: Serializer>(value: &NoError, _: S) -> Result<S::Ok, S::Error> {
        match *value {}
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NoError, D::Error> {
        NoError::deserialize(deserializer)
    }
}

macro_rules! tuples {
    ($($len:literal: $($S:ident $T:ident $index:tt)+;)+) => {$(
        impl<$($S: Shape<$T>, $T),+> Shape<($($T,)+)> for Tup<($($S,)+)> {
            #[inline]
            fn serialize<Ser: Serializer>(value: &($($T,)+), serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
                let mut tuple = serializer.serialize_tuple($len)?;
                $(tuple.serialize_element(&Ref::<$S, $T>::new(&value.$index))?;)+
                tuple.end()
            }

            #[inline]
            fn deserialize<'de, De: Deserializer<'de>>(deserializer: De) -> Result<($($T,)+), De::Error> {
                let parts = <($(Wired<$S, $T>,)+)>::deserialize(deserializer)?;
                Ok(($(parts.$index.into_inner(),)+))
            }
        }
    )+};
}

tuples! {
    1: S0 T0 0;
    2: S0 T0 0 S1 T1 1;
    3: S0 T0 0 S1 T1 1 S2 T2 2;
    4: S0 T0 0 S1 T1 1 S2 T2 2 S3 T3 3;
    5: S0 T0 0 S1 T1 1 S2 T2 2 S3 T3 3 S4 T4 4;
    6: S0 T0 0 S1 T1 1 S2 T2 2 S3 T3 3 S4 T4 4 S5 T5 5;
    7: S0 T0 0 S1 T1 1 S2 T2 2 S3 T3 3 S4 T4 4 S5 T5 5 S6 T6 6;
    8: S0 T0 0 S1 T1 1 S2 T2 2 S3 T3 3 S4 T4 4 S5 T5 5 S6 T6 6 S7 T7 7;
}

/// A value and the shape that it travels in.
pub struct Wired<S, T> {
    value: T,
    shape: PhantomData<fn() -> S>,
}

impl<S, T> Wired<S, T> {
    /// Gives a value its shape.
    #[inline]
    pub const fn new(value: T) -> Self {
        Wired { value, shape: PhantomData }
    }

    /// The value.
    #[inline]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<S, T> fmt::Debug for Wired<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wired")
    }
}

impl<S: Shape<T>, T> Serialize for Wired<S, T> {
    #[inline]
    fn serialize<Ser: Serializer>(&self, serializer: Ser) -> Result<Ser::Ok, Ser::Error> {
        S::serialize(&self.value, serializer)
    }
}

impl<'de, S: Shape<T>, T> Deserialize<'de> for Wired<S, T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        S::deserialize(deserializer).map(Wired::new)
    }
}

/// What serde's `with` attribute is given for a field of a shape.
#[derive(Debug)]
pub struct Shaped<S>(PhantomData<S>);

impl<S> Shaped<S> {
    /// Serializes a field.
    ///
    /// # Errors
    ///
    /// As the serializer does.
    pub fn serialize<T, Ser: Serializer>(value: &T, serializer: Ser) -> Result<Ser::Ok, Ser::Error>
    where
        S: Shape<T>,
    {
        S::serialize(value, serializer)
    }

    /// Deserializes a field.
    ///
    /// # Errors
    ///
    /// As the deserializer does.
    pub fn deserialize<'de, T, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>
    where
        S: Shape<T>,
    {
        S::deserialize(deserializer)
    }
}

/// A type that crosses to another process. Generated code checks each type once against it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    label = "`{Self}` must implement serde's `Serialize` and `Deserialize`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to a type of your own",
    note = "for a type of another crate see whether that crate has a feature `serde`"
)]
pub trait Transferable {
    /// Compiles where the type has serde's traits.
    #[inline]
    fn check(_: Parts<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Serialize + for<'de> Deserialize<'de>> Transferable for T {}

/// The same of a method's error.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` cannot be sent to another process",
    label = "`{Self}` must implement serde's `Serialize` and `Deserialize`",
    note = "return an error type of your own with `#[derive(serde::Serialize, serde::Deserialize)]`",
    note = "or return a `String`: `anyhow::Error`, `std::io::Error` and `Box<dyn Error>` become one by `.map_err(|error| error.to_string())`"
)]
pub trait TransferableError {
    /// Compiles where the type has serde's traits.
    #[inline]
    fn check(_: Parts<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Serialize + for<'de> Deserialize<'de>> TransferableError for T {}

/// A type, without a value of it, that is looked into: `__part0()` of a `Vec<T>` is `T`. A type
/// that cannot be looked into is its own part, so that a type of the user's may have the name of
/// a container.
#[derive(Debug)]
pub struct Parts<T: ?Sized>(PhantomData<fn() -> PhantomData<T>>);

impl<T: ?Sized> Parts<T> {
    /// The type itself.
    #[inline]
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Parts(PhantomData)
    }
}

macro_rules! parts {
    ($($part:ident)+) => {
        /// The parts of a type that has none. Inherent methods have precedence.
        pub trait WithoutParts: Sized {$(
            /// The type itself.
            #[inline]
            #[must_use]
            fn $part(self) -> Self {
                self
            }
        )+}

        impl<T: ?Sized> WithoutParts for Parts<T> {}
    };
}

parts!(__part0 __part1 __part2 __part3 __part4 __part5 __part6 __part7);

macro_rules! parts_of {
    ($([$($generics:tt)*] $ty:ty: $($part:ident $inner:ty),+;)+) => {$(
        impl<$($generics)*> Parts<$ty> {$(
            /// One of the type's parts.
            #[inline]
            #[must_use]
            pub fn $part(self) -> Parts<$inner> {
                Parts::new()
            }
        )+}
    )+};
}

parts_of! {
    [T] Vec<T>: __part0 T;
    [T] Option<T>: __part0 T;
    [T: ?Sized] Box<T>: __part0 T;
    [T, E] Result<T, E>: __part0 T, __part1 E;
    [T] VecDeque<T>: __part0 T;
    [T] LinkedList<T>: __part0 T;
    [T] BinaryHeap<T>: __part0 T;
    [K, V] HashMap<K, V>: __part0 K, __part1 V;
    [K, V] BTreeMap<K, V>: __part0 K, __part1 V;
    [T] HashSet<T>: __part0 T;
    [T] BTreeSet<T>: __part0 T;
    [T] Streaming<T>: __part0 T;
    [T] Sender<T>: __part0 T;
    [T] WatchReceiver<T>: __part0 T;
    [T] WatchSender<T>: __part0 T;
    [T, const N: usize] [T; N]: __part0 T;
    [T0] (T0,): __part0 T0;
    [T0, T1] (T0, T1): __part0 T0, __part1 T1;
    [T0, T1, T2] (T0, T1, T2): __part0 T0, __part1 T1, __part2 T2;
    [T0, T1, T2, T3] (T0, T1, T2, T3): __part0 T0, __part1 T1, __part2 T2, __part3 T3;
    [T0, T1, T2, T3, T4] (T0, T1, T2, T3, T4): __part0 T0, __part1 T1, __part2 T2, __part3 T3, __part4 T4;
    [T0, T1, T2, T3, T4, T5] (T0, T1, T2, T3, T4, T5): __part0 T0, __part1 T1, __part2 T2, __part3 T3, __part4 T4, __part5 T5;
    [T0, T1, T2, T3, T4, T5, T6] (T0, T1, T2, T3, T4, T5, T6): __part0 T0, __part1 T1, __part2 T2, __part3 T3, __part4 T4, __part5 T5, __part6 T6;
    [T0, T1, T2, T3, T4, T5, T6, T7] (T0, T1, T2, T3, T4, T5, T6, T7): __part0 T0, __part1 T1, __part2 T2, __part3 T3, __part4 T4, __part5 T5, __part6 T6, __part7 T7;
}

/// The parts of a `Result`, also of one behind an alias.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result`, but is not the standard library's `Result`",
    label = "rename this type: a method that returns a type named `Result` returns a value or an error",
    note = "an alias of the standard library's `Result` may have this name"
)]
pub trait ResultParts {
    /// What it is when all is well.
    type Ok;
    /// What it is otherwise.
    type Err;

    /// As the `Result` that it is.
    #[allow(clippy::missing_errors_doc)]
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> ResultParts for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Result<T, E> {
        self
    }
}

#[cfg(test)]
#[cfg(feature = "bincode")]
mod tests {
    use super::*;
    use crate::Codec;

    fn there_and_back<S: Shape<T>, T>(value: T) -> (Vec<u8>, T) {
        let mut bytes = Vec::new();
        Codec::Bincode.encode(&Wired::<S, T>::new(value), &mut bytes).unwrap();
        let back = Codec::Bincode.decode::<Wired<S, T>>(&bytes).unwrap().into_inner();
        (bytes, back)
    }

    #[test]
    fn a_block_is_its_length_and_its_bytes() {
        let (bytes, back) = there_and_back::<Block, _>(vec![7u8, 8, 9]);
        assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9]);
        assert_eq!(back, [7, 8, 9]);
    }

    #[test]
    fn shapes_nest() {
        type Nested = Tup<(Opt<Block>, Plain, Res<Block, Plain>)>;
        let value = (Some(vec![1u8]), 5u32, Ok::<_, String>(Bytes::from_static(b"x")));
        let (_, back) = there_and_back::<Nested, _>(value.clone());
        assert_eq!(back, value);
        let value = (None::<Vec<u8>>, 5u32, Err::<Bytes, _>("no".to_owned()));
        let (_, back) = there_and_back::<Nested, _>(value.clone());
        assert_eq!(back, value);
    }

    #[cfg(feature = "json")]
    #[test]
    fn text_formats_take_blocks_as_lists() {
        let mut text = Vec::new();
        Codec::Json.encode(&Wired::<Block, _>::new(vec![1u8, 2]), &mut text).unwrap();
        assert_eq!(text, b"[1,2]");
        assert_eq!(Codec::Json.decode::<Wired<Block, Vec<u8>>>(&text).unwrap().into_inner(), [1, 2]);
    }
}
