//! Makes values of a type from its `Deserialize` alone.
//!
//! The sampler is a deserializer without input: for each thing that the type asks for, it gives
//! one. Over several rounds the samples cover every variant of every enum, both cases of each
//! option, and empty and filled sequences. The sampler also notes what the type asks for: the
//! fields of each struct, and whether a type needs a codec that describes itself.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// The most rounds for one type.
pub(super) const ROUNDS: u32 = 64;
/// The least rounds for a type with structs or enums.
const ROUNDS_LEAST: u32 = 20;
/// From this round on each choice is made by chance.
const BY_CHANCE: u32 = 4;
/// The most values that one sample has.
const STEPS: u32 = 2000;
/// Below this depth options are `None` and sequences empty.
const DEEP: u32 = 12;
/// The deepest sample.
const DEEPEST: u32 = 48;

/// Text that many types accept which parse it.
const TEXTS: [&str; 8] =
    ["a", "1", "127.0.0.1", "2020-01-01T00:00:00Z", "00000000-0000-0000-0000-000000000000", "/a", "a/b", ""];

/// A sample that could not be made.
#[derive(Debug)]
pub(super) struct NoSample;

impl fmt::Display for NoSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no sample of this type can be made")
    }
}

impl std::error::Error for NoSample {}

impl Error for NoSample {
    fn custom<T: fmt::Display>(_: T) -> Self {
        NoSample
    }
}

/// What a type asks for that only a self-describing codec has.
#[derive(Debug)]
pub(super) struct Undescribed {
    /// The type that asks.
    pub(super) type_name: &'static str,
    /// The fields that lead to the type, the innermost first.
    pub(super) path: Vec<(&'static str, &'static str)>,
}

/// A struct as its `Deserialize` reads it.
pub(super) type Fields = (&'static str, &'static [&'static str]);

/// An enum that was met.
struct Enum {
    /// The list of the variants' names, which tells enums apart.
    variants: &'static [&'static str],
    name: &'static str,
    /// How often a variant was chosen.
    visits: usize,
}

/// Makes samples.
pub(super) struct Sampler {
    human_readable: bool,
    round: Cell<u32>,
    random: Cell<u64>,
    steps: Cell<u32>,
    depth: Cell<u32>,
    enums: RefCell<Vec<Enum>>,
    structs: RefCell<Vec<Fields>>,
    undescribed: RefCell<Option<Undescribed>>,
}

impl Sampler {
    pub(super) fn new(human_readable: bool) -> Self {
        Sampler {
            human_readable,
            round: Cell::new(0),
            random: Cell::new(0),
            steps: Cell::new(0),
            depth: Cell::new(0),
            enums: RefCell::default(),
            structs: RefCell::default(),
            undescribed: RefCell::default(),
        }
    }

    /// Makes the sample of a round.
    pub(super) fn sample<T: serde::de::DeserializeOwned>(&self, round: u32) -> Result<T, NoSample> {
        self.round.set(round);
        self.random.set(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        self.steps.set(0);
        self.depth.set(0);
        let sample = T::deserialize(self);
        if sample.is_err() {
            self.note_type::<T>();
        }
        sample
    }

    /// What the type asks for that only a self-describing codec has.
    pub(super) fn take_undescribed(&self) -> Option<Undescribed> {
        self.undescribed.take()
    }

    /// Whether the type has no struct and no enum, so that no attribute of serde's can apply.
    pub(super) fn is_primitive(&self) -> bool {
        self.structs.borrow().is_empty() && self.enums.borrow().is_empty()
    }

    /// Whether further rounds show nothing new.
    pub(super) fn is_exhausted(&self) -> bool {
        self.round.get() + 1 >= ROUNDS_LEAST
            && self.enums.borrow().iter().all(|known| known.visits >= known.variants.len())
    }

    /// The structs that were read.
    pub(super) fn structs(&self) -> Vec<Fields> {
        self.structs.borrow().clone()
    }

    /// The names of the enums that were read.
    pub(super) fn enums(&self) -> Vec<&'static str> {
        self.enums.borrow().iter().map(|known| known.name).collect()
    }

    fn step(&self) -> Result<(), NoSample> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps > STEPS || self.depth.get() > DEEPEST { Err(NoSample) } else { Ok(()) }
    }

    fn random(&self, below: u64) -> u64 {
        // xorshift64
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 8) % below
    }

    /// What the round chooses: in the first rounds `chosen`, later by chance.
    fn chooses(&self, chosen: [bool; BY_CHANCE as usize]) -> bool {
        match chosen.get(self.round.get() as usize) {
            Some(chosen) => *chosen,
            None => self.random(2) == 1,
        }
    }

    fn number(&self) -> u8 {
        match self.round.get() {
            0 | 1 => 1,
            2 | 3 => 0,
            _ => self.random(3) as u8,
        }
    }

    fn has_some(&self) -> bool {
        self.depth.get() < DEEP && self.chooses([true, false, false, true])
    }

    fn has_elements(&self) -> bool {
        self.depth.get() < DEEP && self.chooses([true, true, true, false])
    }

    fn text(&self) -> &'static str {
        match self.round.get() {
            0 | 1 => TEXTS[0],
            2 | 3 => "",
            _ => TEXTS[self.random(TEXTS.len() as u64) as usize],
        }
    }

    /// Chooses a variant: each in turn.
    fn variant(&self, name: &'static str, variants: &'static [&'static str]) -> Option<usize> {
        let mut enums = self.enums.borrow_mut();
        let at = enums.iter().position(|known| std::ptr::eq(known.variants, variants) && known.name == name);
        let at = at.unwrap_or_else(|| {
            enums.push(Enum { variants, name, visits: 0 });
            enums.len() - 1
        });
        if variants.is_empty() {
            return None;
        }
        let chosen = if self.depth.get() < DEEP {
            enums[at].visits
        } else {
            // A recursive enum may only end by one of its variants.
            self.random(variants.len() as u64) as usize
        };
        enums[at].visits += 1;
        Some(chosen % variants.len())
    }

    fn note_struct(&self, name: &'static str, fields: &'static [&'static str]) {
        let mut structs = self.structs.borrow_mut();
        if !structs.iter().any(|(known, its)| *known == name && std::ptr::eq(*its, fields)) {
            structs.push((name, fields));
        }
    }

    /// Notes that the type asked for something that only a self-describing codec has.
    fn needs_description(&self) -> NoSample {
        self.undescribed.borrow_mut().get_or_insert(Undescribed { type_name: "", path: Vec::new() });
        NoSample
    }

    fn note_type<T: ?Sized>(&self) {
        if let Some(undescribed) = &mut *self.undescribed.borrow_mut() {
            // The type of a derived struct's own field names tells the user nothing.
            let type_name = type_name::<T>();
            if undescribed.type_name.is_empty() && !type_name.ends_with("__Field") {
                undescribed.type_name = type_name;
            }
        }
    }

    fn note_field(&self, of: &'static str, field: &'static str) {
        if let Some(undescribed) = &mut *self.undescribed.borrow_mut() {
            undescribed.path.push((of, field));
        }
    }

    fn nested<R>(&self, sample: impl FnOnce() -> Result<R, NoSample>) -> Result<R, NoSample> {
        self.depth.set(self.depth.get() + 1);
        let result = sample();
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// Has a seed make its value, and notes its type where that fails.
    fn seed<'de, S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value, NoSample> {
        let sample = seed.deserialize(self);
        if sample.is_err() {
            self.note_type::<S::Value>();
        }
        sample
    }

    fn elements(&self, left: usize) -> Elements<'_> {
        Elements { sampler: self, left, fields: None, index: 0 }
    }

    fn fields(&self, name: &'static str, fields: &'static [&'static str]) -> Elements<'_> {
        Elements { sampler: self, left: fields.len(), fields: Some((name, fields)), index: 0 }
    }
}

/// The elements of a sequence, a map or a struct.
struct Elements<'s> {
    sampler: &'s Sampler,
    left: usize,
    /// The struct's name and its fields.
    fields: Option<Fields>,
    index: usize,
}

impl Elements<'_> {
    fn element<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NoSample> {
        let index = self.index;
        self.index += 1;
        let sample = self.sampler.seed(seed);
        if let (Err(_), Some((name, fields))) = (&sample, self.fields) {
            self.sampler.note_field(name, fields[index]);
        }
        sample
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = NoSample;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NoSample> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.element(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = NoSample;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NoSample> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.fields {
            Some((_, fields)) => seed.deserialize(fields[self.index].into_deserializer()).map(Some),
            None => self.sampler.seed(seed).map(Some),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NoSample> {
        self.element(seed)
    }
}

/// A chosen variant of an enum.
struct Chosen<'s> {
    sampler: &'s Sampler,
    name: &'static str,
    variant: &'static str,
}

impl<'de> EnumAccess<'de> for Chosen<'_> {
    type Error = NoSample;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), NoSample> {
        Ok((seed.deserialize(self.variant.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = NoSample;

    fn unit_variant(self) -> Result<(), NoSample> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, NoSample> {
        let sample = self.sampler.seed(seed);
        if sample.is_err() {
            self.sampler.note_field(self.name, self.variant);
        }
        sample
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, NoSample> {
        visitor.visit_seq(self.sampler.elements(len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.sampler.note_struct(self.variant, fields);
        visitor.visit_seq(self.sampler.fields(self.variant, fields))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
            self.step()?;
            visitor.$visit(<$type>::from(self.number()))
        }
    )*};
}

impl<'de> Deserializer<'de> for &Sampler {
    type Error = NoSample;

    numbers! {
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
        deserialize_u128 visit_u128 u128
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_i128 visit_i128 i128
        deserialize_f32 visit_f32 f32
        deserialize_f64 visit_f64 f64
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_i8(self.number() as i8)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_bool(self.number() == 1)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_str(self.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_bytes(self.text().as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        if self.has_some() { self.nested(|| visitor.visit_some(self)) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.step()?;
        self.nested(|| visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        let elements = self.elements(usize::from(self.has_elements()));
        self.nested(|| visitor.visit_seq(elements))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        self.nested(|| visitor.visit_seq(self.elements(len)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoSample> {
        self.step()?;
        // One entry at most: the order of a hash map's entries is not defined.
        let elements = self.elements(usize::from(self.has_elements()));
        self.nested(|| visitor.visit_map(elements))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.step()?;
        self.note_struct(name, fields);
        self.nested(|| {
            // Some types read themselves by position only, some by name only.
            if self.chooses([false; BY_CHANCE as usize]) {
                visitor.visit_map(self.fields(name, fields))
            } else {
                visitor.visit_seq(self.fields(name, fields))
            }
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NoSample> {
        self.step()?;
        let variant = variants[self.variant(name, variants).ok_or(NoSample)?];
        self.nested(|| visitor.visit_enum(Chosen { sampler: self, name, variant }))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoSample> {
        Err(self.needs_description())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoSample> {
        Err(self.needs_description())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoSample> {
        Err(self.needs_description())
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }
}
