//! Rejects what a codec cannot carry, before a byte of the message is sent.
//!
//! serde attributes such as `skip_serializing_if` need a codec that writes field names. A codec
//! that writes fields by position accepts them without an error, and the receiver then reads one
//! field's bytes as another field. The guard wraps each serializer and turns such a use into an
//! error that names the type, the field and the fix. The wrapper has no state: on the path of a
//! value that is accepted, the optimizer removes the wrapper.

use std::any::type_name;
use std::cell::RefCell;
use std::fmt::{self, Write};
use std::marker::PhantomData;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What a codec can carry.
pub(super) trait Format {
    /// The codec's name in errors.
    const NAME: &'static str;
    /// Whether the codec writes the names of fields, so that a field can be left out.
    const WRITES_NAMES: bool;
    /// Whether the codec carries a sequence or a map of unknown length.
    const UNKNOWN_LENGTHS: bool;
    /// Whether a decoder can tell from the bytes alone which type a value has.
    const SELF_DESCRIBING: bool;
    /// Whether `None` and `()` are written as the same value, and `Some(x)` as `x`.
    const NULL_IS_NONE: bool;
    /// Whether `()` and unit structs differ: only the former are written as `None` is.
    const UNIT_STRUCT_IS_NULL: bool;
    /// Whether the codec carries NaN and infinities.
    const ALL_FLOATS: bool;
    /// Whether serde's types take the form that is meant for people.
    const HUMAN_READABLE: bool;

    /// Appends the encoding of `value`, under the guard.
    fn encode_guarded<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refused>;
}

/// An error on its way out of the value.
struct Refusal {
    /// What is wrong, with its subject.
    why: String,
    /// The type whose `Serialize` met the error.
    within: Option<&'static str>,
    /// The fields that lead to the value, the innermost first.
    path: Vec<(&'static str, &'static str)>,
    /// Whether the type cannot be carried, rather than this value alone.
    of_type: bool,
}

thread_local! {
    static REFUSAL: RefCell<Option<Refusal>> = const { RefCell::new(None) };
}

/// Why a value was not encoded.
pub(super) struct Refused {
    pub(super) message: String,
    /// Whether the type cannot be carried, rather than this value of the type.
    pub(super) of_type: bool,
}

/// What made an encoder fail: what the guard noted on the way, or the codec's own error.
#[cold]
pub(super) fn refused(error: impl fmt::Display) -> Refused {
    let Some(Refusal { why, within, path, of_type }) = REFUSAL.take() else {
        return Refused { message: error.to_string(), of_type: false };
    };
    let mut message = why;
    for (index, (type_name, field)) in path.iter().enumerate() {
        let _ = write!(message, "{} `{type_name}.{field}`", if index == 0 { "; at" } else { ", in" });
    }
    if let Some(within) = within {
        let _ = write!(message, " (type `{within}`)");
    }
    Refused { message, of_type }
}

/// The fix for a type that needs field names.
pub(super) const NEEDS_NAMES: &str = "remove the attribute or choose JSON, by `.codec(Codec::Json)`";
/// The fix for a type that needs a self-describing codec.
pub(super) const NEEDS_DESCRIPTION: &str =
    "choose JSON or MessagePack, by `.codec(Codec::Json)` or `.codec(Codec::MessagePack)`";

#[cold]
fn refuse<E: Error>(of_type: bool, why: String) -> E {
    let error = E::custom(&why);
    REFUSAL.set(Some(Refusal { why, within: None, path: Vec::new(), of_type }));
    error
}

/// Notes the type whose `Serialize` met an error, be it the guard's, the codec's or the type's.
#[cold]
fn note_type<T: ?Sized>(error: &impl fmt::Display) {
    REFUSAL.with_borrow_mut(|refusal| {
        let refusal = refusal.get_or_insert_with(|| Refusal {
            why: error.to_string(),
            within: None,
            path: Vec::new(),
            of_type: false,
        });
        refusal.within.get_or_insert(type_name::<T>());
    });
}

/// Notes a field on the way out of a value.
#[cold]
fn note_field(type_name: &'static str, field: &'static str) {
    REFUSAL.with_borrow_mut(|refusal| {
        if let Some(refusal) = refusal {
            refusal.path.push((type_name, field));
        }
    });
}

/// A field, as the innermost part of the path.
#[cold]
fn skipped<F: Format, E: Error>(type_name: &'static str, field: &'static str) -> E {
    refuse(
        true,
        format!(
            "the field `{field}` of `{type_name}` is left out (`skip_serializing_if`), but {} reads fields by their position; {}",
            F::NAME,
            NEEDS_NAMES
        ),
    )
}

#[cold]
fn unknown_length<F: Format, E: Error>(what: &str) -> E {
    let cause = if what == "map" { "`#[serde(flatten)]` does this; " } else { "" };
    refuse(
        true,
        format!(
            "a {what} is written without its length, but {} needs the length first; {cause}{}",
            F::NAME,
            NEEDS_DESCRIPTION
        ),
    )
}

#[cold]
fn some_null<F: Format, E: Error>() -> E {
    refuse(
        false,
        format!(
            "`Some` of an empty value (`None`, `()` or null) would arrive as `None`, since {} writes both alike; use an enum of your own",
            F::NAME
        ),
    )
}

#[cold]
fn not_finite<F: Format, E: Error>(value: f64) -> E {
    refuse(
        false,
        format!(
            "{} has no number {value}; choose another codec, such as `Codec::Bincode`, or send the number as text",
            F::NAME
        ),
    )
}

/// A serializer, or a part of one, under the guard of a format.
pub(super) struct Guarded<S, F> {
    inner: S,
    /// Whether the value stands directly in a `Some`.
    in_some: bool,
    format: PhantomData<F>,
}

impl<S, F> Guarded<S, F> {
    #[inline]
    fn new(inner: S) -> Self {
        Guarded { inner, in_some: false, format: PhantomData }
    }
}

/// A struct's fields under the guard.
pub(super) struct Fields<S, F> {
    inner: S,
    name: &'static str,
    format: PhantomData<F>,
}

/// A value that is serialized under the guard.
pub(super) struct Value<'a, T: ?Sized, F> {
    value: &'a T,
    in_some: bool,
    format: PhantomData<F>,
}

impl<'a, T: ?Sized, F> Value<'a, T, F> {
    #[inline]
    pub(super) fn new(value: &'a T) -> Self {
        Value { value, in_some: false, format: PhantomData }
    }
}

impl<T: Serialize + ?Sized, F: Format> Serialize for Value<'_, T, F> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let serializer = Guarded { inner: serializer, in_some: self.in_some, format: PhantomData::<F> };
        let result = self.value.serialize(serializer);
        if let Err(error) = &result {
            note_type::<T>(error);
        }
        result
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

impl<S: Serializer, F: Format> Serializer for Guarded<S, F> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Guarded<S::SerializeSeq, F>;
    type SerializeTuple = Guarded<S::SerializeTuple, F>;
    type SerializeTupleStruct = Guarded<S::SerializeTupleStruct, F>;
    type SerializeTupleVariant = Guarded<S::SerializeTupleVariant, F>;
    type SerializeMap = Guarded<S::SerializeMap, F>;
    type SerializeStruct = Fields<S::SerializeStruct, F>;
    type SerializeStructVariant = Fields<S::SerializeStructVariant, F>;

    plain! {
        serialize_bool: bool
        serialize_i8: i8
        serialize_i16: i16
        serialize_i32: i32
        serialize_i64: i64
        serialize_i128: i128
        serialize_u8: u8
        serialize_u16: u16
        serialize_u32: u32
        serialize_u64: u64
        serialize_u128: u128
        serialize_char: char
        serialize_str: &str
        serialize_bytes: &[u8]
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if !F::ALL_FLOATS && !value.is_finite() {
            return Err(not_finite::<F, _>(value.into()));
        }
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if !F::ALL_FLOATS && !value.is_finite() {
            return Err(not_finite::<F, _>(value));
        }
        self.inner.serialize_f64(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        if F::NULL_IS_NONE && self.in_some {
            return Err(some_null::<F, _>());
        }
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Value { value, in_some: F::NULL_IS_NONE, format: PhantomData::<F> })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        if F::NULL_IS_NONE && self.in_some {
            return Err(some_null::<F, _>());
        }
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        if F::UNIT_STRUCT_IS_NULL && self.in_some {
            return Err(some_null::<F, _>());
        }
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Value { value, in_some: self.in_some, format: PhantomData::<F> };
        self.inner.serialize_newtype_struct(name, &value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let result = self.inner.serialize_newtype_variant(name, index, variant, &Value::<T, F>::new(value));
        if result.is_err() {
            note_field(name, variant);
        }
        result
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        if !F::UNKNOWN_LENGTHS && len.is_none() {
            return Err(unknown_length::<F, _>("sequence"));
        }
        self.inner.serialize_seq(len).map(Guarded::new)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.inner.serialize_tuple(len).map(Guarded::new)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.inner.serialize_tuple_struct(name, len).map(Guarded::new)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.inner.serialize_tuple_variant(name, index, variant, len).map(Guarded::new)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        if !F::UNKNOWN_LENGTHS && len.is_none() {
            return Err(unknown_length::<F, _>("map"));
        }
        self.inner.serialize_map(len).map(Guarded::new)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let inner = self.inner.serialize_struct(name, len)?;
        Ok(Fields { inner, name, format: PhantomData })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Fields { inner, name: variant, format: PhantomData })
    }

    #[inline]
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident)*) => {$(
        impl<S: $trait, F: Format> $trait for Guarded<S, F> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&Value::<T, F>::new(value))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl<S: SerializeMap, F: Format> SerializeMap for Guarded<S, F> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(&Value::<T, F>::new(key))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&Value::<T, F>::new(value))
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<S: $trait, F: Format> $trait for Fields<S, F> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let result = self.inner.serialize_field(key, &Value::<T, F>::new(value));
                if result.is_err() {
                    note_field(self.name, key);
                }
                result
            }

            #[inline]
            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                if !F::WRITES_NAMES {
                    return Err(skipped::<F, _>(self.name, key));
                }
                self.inner.skip_field(key)
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

fields! { SerializeStruct SerializeStructVariant }
