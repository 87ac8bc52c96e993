//! Bounds what a message can make a decoder do, whatever the codec: how deep it
//! nests, how many elements it has, how much room is made before the bytes for
//! it have been seen.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::DecodeError;
use crate::limits::{DECODED_FREE, DECODED_TIMES, FREE_ELEMENTS, PREALLOCATED};

/// What a message may still do.
pub(super) struct Guard {
    /// How deep the value nests at most, and how deep it may still.
    max_depth: u32,
    depth: Cell<u32>,
    elements: Cell<usize>,
    /// How many bytes the elements of its sequences and maps may still take.
    memory: Cell<usize>,
    preallocated: Cell<usize>,
    /// What the message went too far with.
    broken: Cell<Option<Broken>>,
    /// The innermost struct that could not be decoded, and the fields that it reads.
    within: Cell<Option<Fields>>,
}

/// A struct's name and the fields that it reads.
type Fields = (&'static str, &'static [&'static str]);

#[derive(Debug, Clone, Copy)]
enum Broken {
    Depth(u32),
    Elements,
    Memory,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Depth(most) => {
                write!(f, "the value nests more than {most} deep; raise `Limits::max_depth` of this side")
            }
            Broken::Memory => write!(
                f,
                "the elements of its sequences take more than {DECODED_TIMES} times the message's bytes and {DECODED_FREE} more in memory; send it in several messages or as a stream"
            ),
            Broken::Elements => f.write_str("the message has more elements than its bytes allow"),
        }
    }
}

impl Guard {
    /// The guard of a message of `len` bytes, whose value nests at most `max_depth` deep.
    #[inline]
    pub(super) fn new(len: usize, max_depth: u32) -> Self {
        Guard {
            max_depth,
            depth: Cell::new(max_depth),
            memory: Cell::new(len.saturating_mul(DECODED_TIMES).saturating_add(DECODED_FREE)),
            elements: Cell::new(len.saturating_add(FREE_ELEMENTS)),
            preallocated: Cell::new(PREALLOCATED),
            broken: Cell::new(None),
            within: Cell::new(None),
        }
    }

    /// The codec's error, in the guard's own words where it was the guard that
    /// refused: not every codec keeps them.
    pub(super) fn explain(&self, error: impl fmt::Display) -> DecodeError {
        let mut text = match self.broken.get() {
            Some(broken) => broken.to_string(),
            None => error.to_string(),
        };
        if let Some((name, fields)) = self.within.get() {
            let fields: Vec<_> = fields.iter().map(|field| format!("`{field}`")).collect();
            let _ = write!(text, " (in `{name}`, which reads {})", fields.join(", "));
        }
        DecodeError(text)
    }

    /// Notes a struct on the way out of a message.
    #[cold]
    fn note(&self, fields: Fields) {
        if self.within.get().is_none() {
            self.within.set(Some(fields));
        }
    }

    #[cold]
    fn refuse<E: Error>(&self, broken: Broken) -> E {
        self.broken.set(Some(broken));
        E::custom(broken)
    }

    /// Deserializes a `T` under this guard.
    #[inline]
    pub(super) fn seed<T>(&self) -> Guarded<'_, PhantomData<T>> {
        Guarded { inner: PhantomData, guard: self, is_list: false }
    }

    #[inline]
    fn nested<R, E: Error>(&self, decode: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let left = self.depth.get();
        if left == 0 {
            return Err(self.refuse(Broken::Depth(self.max_depth)));
        }
        self.depth.set(left.saturating_sub(1));
        let result = decode();
        self.depth.set(left);
        result
    }

    #[inline]
    fn element<E: Error>(&self) -> Result<(), E> {
        let Some(left) = self.elements.get().checked_sub(1) else {
            return Err(self.refuse(Broken::Elements));
        };
        self.elements.set(left);
        Ok(())
    }

    /// Counts the memory of an element of a sequence or map. The fields of a tuple or struct
    /// are part of it and are not counted again.
    #[inline]
    fn takes<T, E: Error>(&self, is_list: bool) -> Result<(), E> {
        if is_list {
            let Some(left) = self.memory.get().checked_sub(size_of::<T>()) else {
                return Err(self.refuse(Broken::Memory));
            };
            self.memory.set(left);
        }
        Ok(())
    }

    /// How much room to make for a sequence that claims `hint` elements.
    #[inline]
    fn room(&self, hint: Option<usize>) -> Option<usize> {
        let room = hint?.min(self.preallocated.get());
        self.preallocated.set(self.preallocated.get().saturating_sub(room));
        Some(room)
    }
}

/// A deserializer, visitor, seed or access of serde's, under a guard.
pub(super) struct Guarded<'g, T> {
    inner: T,
    guard: &'g Guard,
    /// Whether its elements are those of a sequence or map, which take memory of their own.
    is_list: bool,
}

impl<'g, T> Guarded<'g, T> {
    #[inline]
    fn wrap<U>(&self, inner: U) -> Guarded<'g, U> {
        Guarded { inner, guard: self.guard, is_list: false }
    }

    #[inline]
    fn wrap_list<U>(&self, inner: U) -> Guarded<'g, U> {
        Guarded { inner, guard: self.guard, is_list: true }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Guarded<'_, PhantomData<T>> {
    type Value = T;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(self.wrap(deserializer))
    }
}

/// A seed of the user's, which gets a guarded deserializer.
struct Seed<'g, S> {
    seed: S,
    guard: &'g Guard,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Guarded { inner: deserializer, guard: self.guard, is_list: false })
    }
}

/// Values without parts need no guarding.
macro_rules! plain {
    ($($method:ident => $inner:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guarded<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_bool => deserialize_bool
        deserialize_i8 => deserialize_i8
        deserialize_i16 => deserialize_i16
        deserialize_i32 => deserialize_i32
        deserialize_i64 => deserialize_i64
        deserialize_i128 => deserialize_i128
        deserialize_u8 => deserialize_u8
        deserialize_u16 => deserialize_u16
        deserialize_u32 => deserialize_u32
        deserialize_u64 => deserialize_u64
        deserialize_u128 => deserialize_u128
        deserialize_f32 => deserialize_f32
        deserialize_f64 => deserialize_f64
        deserialize_char => deserialize_char
        deserialize_unit => deserialize_unit
        // Borrowed first and copied then: a codec that makes the buffer itself
        // makes it as large as the message claims, before it looks.
        deserialize_str => deserialize_str
        deserialize_string => deserialize_str
        deserialize_bytes => deserialize_bytes
        deserialize_byte_buf => deserialize_bytes
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap_list(visitor);
        self.inner.deserialize_any(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_option(visitor)
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap_list(visitor);
        self.inner.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap_list(visitor);
        self.inner.deserialize_map(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        let guard = self.guard;
        let result = self.inner.deserialize_struct(name, fields, visitor);
        if result.is_err() {
            guard.note((name, fields));
        }
        result
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_enum(name, variants, visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_identifier(visitor)
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor);
        self.inner.deserialize_ignored_any(visitor)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visits {
    ($($method:ident: $type:ty)*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guarded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visits! {
        visit_bool: bool
        visit_i8: i8
        visit_i16: i16
        visit_i32: i32
        visit_i64: i64
        visit_i128: i128
        visit_u8: u8
        visit_u16: u16
        visit_u32: u32
        visit_u64: u64
        visit_u128: u128
        visit_f32: f32
        visit_f64: f64
        visit_char: char
        visit_str: &str
        visit_borrowed_str: &'de str
        visit_string: String
        visit_bytes: &[u8]
        visit_borrowed_bytes: &'de [u8]
        visit_byte_buf: Vec<u8>
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.guard.nested(|| self.inner.visit_some(deserializer))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.guard.nested(|| self.inner.visit_newtype_struct(deserializer))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        let seq = Guarded { inner: seq, guard: self.guard, is_list: self.is_list };
        self.guard.nested(|| self.inner.visit_seq(seq))
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let map = Guarded { inner: map, guard: self.guard, is_list: self.is_list };
        self.guard.nested(|| self.inner.visit_map(map))
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        let data = self.wrap(data);
        self.guard.nested(|| self.inner.visit_enum(data))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.guard.element()?;
        self.guard.takes::<S::Value, _>(self.is_list)?;
        self.inner.next_element_seed(Seed { seed, guard: self.guard })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.room(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.guard.element()?;
        self.guard.takes::<S::Value, _>(self.is_list)?;
        self.inner.next_key_seed(Seed { seed, guard: self.guard })
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.guard.takes::<S::Value, _>(self.is_list)?;
        self.inner.next_value_seed(Seed { seed, guard: self.guard })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.guard.room(self.inner.size_hint())
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guarded<'g, A> {
    type Error = A::Error;
    type Variant = Guarded<'g, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let guard = self.guard;
        let (value, variant) = self.inner.variant_seed(Seed { seed, guard })?;
        Ok((value, Guarded { inner: variant, guard, is_list: false }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guarded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Seed { seed, guard: self.guard })
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

#[cfg(all(test, feature = "bincode"))]
mod tests {
    use serde::{Deserialize, Serialize};

    use crate::codec::{Bincode, Codec};
    use crate::limits::{DECODED_FREE, DECODED_TIMES, MAX_DEPTH};

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Nested(Option<Box<Nested>>);

    fn nested(depth: u32) -> Nested {
        (0..depth).fold(Nested(None), |inner, _| Nested(Some(Box::new(inner))))
    }

    /// A syntax tree as users write it: four levels of serde's for each of its own.
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    enum Expr {
        Number(u64),
        Sum { terms: Vec<Expr> },
        Not(Option<Box<Expr>>),
    }

    fn expr(depth: u32) -> Expr {
        (0..depth).fold(Expr::Number(7), |inner, level| match level % 2 {
            0 => Expr::Sum { terms: vec![inner] },
            _ => Expr::Not(Some(Box::new(inner))),
        })
    }

    fn decoded<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> Result<T, String> {
        decoded_nested(value, MAX_DEPTH)
    }

    fn decoded_nested<T>(value: &T, max_depth: u32) -> Result<T, String>
    where
        T: Serialize + for<'de> Deserialize<'de>,
    {
        let mut bytes = Vec::new();
        Bincode.encode(value, &mut bytes).expect("the sample can be encoded");
        Bincode.decode_nested(&bytes, max_depth).map_err(|error| error.0)
    }

    #[test]
    fn values_may_nest_as_deep_as_the_limit_says() {
        assert_eq!(decoded(&expr(60)), Ok(expr(60)));
        // A level of `Nested` is one of a newtype and one of an option.
        let most = MAX_DEPTH / 2 - 1;
        assert_eq!(decoded(&nested(most)), Ok(nested(most)));
        assert!(decoded(&nested(most + 2)).unwrap_err().contains("max_depth"));
        assert!(decoded_nested(&nested(20), 20).unwrap_err().contains("20 deep"));
        assert_eq!(decoded_nested(&nested(9), 20), Ok(nested(9)));
        assert_eq!(decoded(&nested(most)), Ok(nested(most)));
    }

    #[test]
    fn elements_take_no_more_memory_than_a_multiple_of_the_message() {
        // Absent elements of 1 KiB take one byte each on the wire.
        type Sparse = Vec<Option<[[u64; 32]; 4]>>;
        let element = size_of::<Option<[[u64; 32]; 4]>>();
        let most = (DECODED_FREE + DECODED_TIMES * (DECODED_FREE / element)) / element;
        let sparse = |len: usize| -> Sparse { vec![None; len] };
        assert_eq!(decoded(&sparse(most / 2)).map(|back| back.len()), Ok(most / 2));
        assert!(decoded(&sparse(most * 2)).unwrap_err().contains("memory"));
        // Fields are part of their elements: they are not counted again.
        let pairs = vec![((1_u64, 2_u64), [3_u64; 4]); 300_000];
        assert_eq!(decoded(&pairs), Ok(pairs));
    }
}
