//! Every feature of serde with every codec: types, values, and whether they arrive.
//!
//! The list below makes a service with one method for each row, which gives its argument back.
//! A cell says what a codec does with the row's values: all arrive equal, or the sender refuses
//! all and names the type, the field or the fix.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use panpipe::{CallError, Codec, SendError, Sender, StreamError, Streaming};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// What a codec does with the values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Every value arrives as it was sent.
    Same,
    /// The sender refuses every value.
    Refused,
}

use Cell::{Refused, Same};

/// The codecs in the order of a row's cells.
pub const CODECS: [Codec; 4] = [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json];

/// A row and what has become of its values.
#[derive(Debug)]
pub struct Row {
    /// The row's name: a method's.
    pub name: &'static str,
    /// The feature in words, as the documentation's table has it.
    pub title: &'static str,
    /// What each codec does.
    pub cells: [Cell; 4],
    /// What an error has to mention.
    pub mention: &'static str,
    /// What became of each value: whether it came back equal, or why it did not.
    pub outcomes: Vec<Result<bool, CallError>>,
}

macro_rules! features {
    ($($(#[doc = $title:literal])* $name:ident: $type:ty = [$($value:expr),* $(,)?] => [$($cell:ident),*] $mention:literal;)*) => {
        /// Gives back what it is given, of each type.
        #[panpipe::service]
        pub trait Features {
            $(
                #[doc = stringify!($name)]
                async fn $name(&self, value: $type) -> $type;
            )*
            /// How many calls of the others have arrived.
            async fn arrived(&self) -> u64;
        }

        impl Features for Echo {
            $(
                async fn $name(&self, value: $type) -> $type {
                    self.arrived.fetch_add(1, Ordering::Relaxed);
                    value
                }
            )*
            async fn arrived(&self) -> u64 {
                self.arrived.load(Ordering::Relaxed)
            }
        }

        /// Calls every method with every value of its row.
        pub async fn call_all(client: &FeaturesClient) -> Vec<Row> {
            vec![$({
                let values: Vec<$type> = vec![$($value),*];
                let mut outcomes = Vec::new();
                for value in values {
                    let sent = value.clone();
                    outcomes.push(client.$name(sent).await.map(|received| received == value));
                }
                Row {
                    name: stringify!($name),
                    title: concat!($($title),*).trim_ascii(),
                    cells: [$($cell),*],
                    mention: $mention,
                    outcomes,
                }
            }),*]
        }
    };
}

/// The implementation.
#[derive(Debug, Default)]
pub struct Echo {
    arrived: AtomicU64,
}

/// Makes a type that can be compared.
macro_rules! types {
    ($($(#[$attr:meta])* $kind:ident $name:ident $body:tt)*) => {$(
        types!(@ $kind [$(#[$attr])*] $name $body);
    )*};
    (@ brace [$(#[$attr:meta])*] $name:ident { $($body:tt)* }) => {
        #[allow(missing_docs)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attr])*
        pub struct $name { $($body)* }
    };
    (@ tuple [$(#[$attr:meta])*] $name:ident ( $($body:tt)* )) => {
        #[allow(missing_docs)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attr])*
        pub struct $name($($body)*);
    };
    (@ variants [$(#[$attr:meta])*] $name:ident { $($body:tt)* }) => {
        #[allow(missing_docs)]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attr])*
        pub enum $name { $($body)* }
    };
}

types! {
    brace Renamed {
        #[serde(rename = "type")] pub kind: u8,
        #[serde(rename(serialize = "out", deserialize = "out"))] pub other: String,
    }
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    variants RenamedEnum { FirstOne, #[serde(rename = "2")] Second(u8) }
    brace Aliased { #[serde(alias = "old", alias = "older")] pub new: u8, pub b: u8 }
    brace Defaulted { #[serde(default)] pub a: u8, #[serde(default = "seven")] pub b: u8 }
    #[serde(default)]
    #[derive(Default)]
    brace DefaultedWhole { pub a: u8, pub b: String }
    brace Skipped { pub a: u8, #[serde(skip)] pub cache: Option<u8>, pub b: u8 }
    brace Entry {
        #[serde(default, skip_serializing_if = "Option::is_none")] pub quota: Option<u8>,
        pub level: u8,
    }
    brace Order { pub id: u32, pub entries: Vec<Entry> }
    variants EntryVariant {
        Full { #[serde(default, skip_serializing_if = "Option::is_none")] quota: Option<u8>, level: u8 },
    }
    brace NoDefault { #[serde(skip_serializing_if = "Vec::is_empty")] pub list: Vec<u8>, pub level: u8 }
    brace OtherDefault {
        #[serde(default = "seven", skip_serializing_if = "is_zero")] pub a: u8,
        pub b: u8,
    }
    brace WriteOnly { #[serde(default, skip_deserializing)] pub a: u8, pub b: u8 }
    brace ReadOnly { #[serde(default, skip_serializing)] pub a: u8, pub b: u8 }
    brace Crossed {
        #[serde(default, skip_serializing)] pub a: u8,
        #[serde(default, skip_deserializing)] pub b: u8,
    }
    brace Inner { pub x: u8, pub y: String }
    brace Flat { pub a: u8, #[serde(flatten)] pub inner: Inner }
    brace FlatMap { pub a: u8, #[serde(flatten)] pub rest: BTreeMap<String, u8> }
    #[serde(tag = "kind")]
    variants Tagged { Empty, Struct { a: u8, b: String }, New(Inner) }
    brace HasTagged { pub id: u8, pub event: Option<Tagged> }
    #[serde(tag = "kind")]
    brace TaggedStruct { pub a: String, pub b: String }
    #[serde(untagged)]
    variants Untagged { Number(i64), Text(String), Struct { a: u8 } }
    variants UntaggedVariant { Known(u8), #[serde(untagged)] Unknown(String) }
    #[serde(tag = "t", content = "c")]
    variants Adjacent { Empty, New(u8), Tuple(u8, u8), Struct { a: u8 } }
    #[serde(deny_unknown_fields)]
    brace Strict { pub a: u8 }
    variants Others { A, B, #[serde(other)] Unknown }
    variants SkippedVariant { #[serde(skip)] Internal, A, B, C }
    variants SkippedLastVariant { A, B, #[serde(skip)] Internal }
    brace WithModule { #[serde(with = "as_text")] pub number: u32, pub after: u8 }
    #[serde(transparent)]
    tuple Transparent(pub u8)
    #[serde(from = "u16", into = "u16")]
    tuple Converted(pub u8)
    #[serde(try_from = "u16", into = "u16")]
    tuple Checked(pub u8)
    tuple Newtype(pub String)
    tuple NewtypeOption(pub Option<u8>)
    tuple Tuple(pub u8, pub String)
    variants Variants { Unit, New(u8), Tuple(u8, String), Struct { a: u8, b: Option<u8> } }
    variants Tree { Leaf, Node(Vec<Tree>) }
    brace Generic { pub list: List<u16> }
    #[derive(Eq, Hash, PartialOrd, Ord)]
    variants Key { A, B }
    #[derive(Eq, PartialOrd, Ord)]
    brace KeyStruct { pub a: u8 }
    #[derive(Eq, PartialOrd, Ord)]
    tuple KeyText(pub String)
}

/// A unit struct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit;

/// A generic list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List<T> {
    /// The first item.
    pub first: T,
    /// The others.
    pub rest: Option<Box<List<T>>>,
}

/// A number of which every bit counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bits(pub f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// The same with fewer bits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bits32(pub f32);

impl PartialEq for Bits32 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// A sequence that does not know its length when it begins.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Unsized(pub Vec<u8>);

impl Serialize for Unsized {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter(|x| **x > 0))
    }
}

/// Takes other forms in formats for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Readable(pub u32);

impl Serialize for Readable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_u32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map(Readable).map_err(serde::de::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Readable)
        }
    }
}

impl From<u16> for Converted {
    fn from(value: u16) -> Self {
        Converted(value as u8)
    }
}

impl From<Converted> for u16 {
    fn from(value: Converted) -> Self {
        value.0.into()
    }
}

impl TryFrom<u16> for Checked {
    type Error = std::num::TryFromIntError;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        value.try_into().map(Checked)
    }
}

impl From<Checked> for u16 {
    fn from(value: Checked) -> Self {
        value.0.into()
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn seven() -> u8 {
    7
}

fn is_zero(x: &u8) -> bool {
    *x == 0
}

fn entry(quota: Option<u8>, level: u8) -> Entry {
    Entry { quota, level }
}

fn inner() -> Inner {
    Inner { x: 1, y: "y".to_owned() }
}

fn tree(depth: u8) -> Tree {
    if depth == 0 { Tree::Leaf } else { Tree::Node(vec![tree(depth - 1), Tree::Leaf]) }
}

fn text(text: &str) -> String {
    text.to_owned()
}

features! {
    /// `rename`, `rename_all` on structs
    rename: Renamed = [Renamed { kind: 1, other: text("x") }] => [Same, Same, Same, Same] "";
    /// `rename`, `rename_all` on enums
    rename_enum: RenamedEnum = [RenamedEnum::FirstOne, RenamedEnum::Second(3)] => [Same, Same, Same, Same] "";
    /// `alias`
    alias: Aliased = [Aliased { new: 1, b: 2 }] => [Same, Same, Same, Same] "";
    /// `default` on a field
    default_field: Defaulted = [Defaulted { a: 0, b: 7 }, Defaulted { a: 3, b: 0 }] => [Same, Same, Same, Same] "";
    /// `default` on a struct
    default_struct: DefaultedWhole = [DefaultedWhole::default(), DefaultedWhole { a: 1, b: text("b") }] => [Same, Same, Same, Same] "";
    /// `skip`
    skip: Skipped = [Skipped { a: 1, cache: None, b: 2 }] => [Same, Same, Same, Same] "";
    /// `skip_serializing_if` with `default`
    skip_serializing_if: Vec<Entry> = [vec![entry(None, 0), entry(Some(0), 5)], vec![entry(Some(1), 2)], vec![]] => [Refused, Refused, Refused, Same] "`quota` of `Entry`";
    /// `skip_serializing_if` inside another struct
    skip_serializing_if_inside: Order = [Order { id: 1, entries: vec![entry(None, 3)] }] => [Refused, Refused, Refused, Same] "`quota` of `Entry`";
    /// `skip_serializing_if` in a variant
    skip_serializing_if_in_variant: EntryVariant = [EntryVariant::Full { quota: None, level: 1 }, EntryVariant::Full { quota: Some(1), level: 1 }] => [Refused, Refused, Refused, Same] "`quota` of `Full`";
    /// `skip_serializing_if` without `default`
    skip_serializing_if_no_default: NoDefault = [NoDefault { list: vec![], level: 1 }, NoDefault { list: vec![1], level: 1 }] => [Refused, Refused, Refused, Refused] "list";
    /// `skip_serializing_if` with another `default` than it skips
    skip_serializing_if_other_default: OtherDefault = [OtherDefault { a: 0, b: 1 }] => [Refused, Refused, Refused, Refused] "OtherDefault";
    /// `skip_deserializing`
    skip_deserializing: WriteOnly = [WriteOnly { a: 0, b: 2 }] => [Refused, Refused, Refused, Same] "`WriteOnly`, which reads `b`";
    /// `skip_serializing`
    skip_serializing: ReadOnly = [ReadOnly { a: 0, b: 2 }] => [Refused, Refused, Refused, Same] "`ReadOnly`, which reads `a`, `b`";
    /// `flatten` of a struct
    flatten: Flat = [Flat { a: 1, inner: inner() }] => [Refused, Refused, Same, Same] "Flat";
    /// `flatten` of a map
    flatten_map: FlatMap = [FlatMap { a: 1, rest: BTreeMap::from([(text("k"), 2)]) }, FlatMap { a: 1, rest: BTreeMap::new() }] => [Refused, Refused, Same, Same] "FlatMap";
    /// `tag` (internally tagged)
    tag: Tagged = [Tagged::Empty, Tagged::Struct { a: 1, b: text("b") }, Tagged::New(inner())] => [Refused, Refused, Same, Same] "Tagged";
    /// `tag` inside another struct
    tag_inside: HasTagged = [HasTagged { id: 1, event: None }, HasTagged { id: 1, event: Some(Tagged::Empty) }] => [Refused, Refused, Same, Same] "`HasTagged.event`";
    /// `tag` on a struct
    tag_struct: TaggedStruct = [TaggedStruct { a: text("a"), b: text("b") }] => [Refused, Refused, Refused, Same] "TaggedStruct";
    /// `untagged`
    untagged: Untagged = [Untagged::Number(-1), Untagged::Text(text("t"))] => [Refused, Refused, Same, Same] "Untagged";
    /// `untagged`: struct variants
    untagged_struct: Untagged = [Untagged::Struct { a: 1 }] => [Refused, Refused, Refused, Same] "Untagged";
    /// `untagged` on a variant
    untagged_variant: UntaggedVariant = [UntaggedVariant::Known(1), UntaggedVariant::Unknown(text("x"))] => [Refused, Refused, Same, Same] "UntaggedVariant";
    /// `tag` with `content` (adjacently tagged)
    adjacent: Adjacent = [Adjacent::New(1), Adjacent::Tuple(1, 2)] => [Refused, Refused, Same, Same] "Adjacent";
    /// `tag` with `content`: unit and struct variants
    adjacent_unit: Adjacent = [Adjacent::Empty, Adjacent::Struct { a: 1 }] => [Refused, Refused, Refused, Same] "Adjacent";
    /// `deny_unknown_fields`
    deny_unknown_fields: Strict = [Strict { a: 1 }] => [Same, Same, Same, Same] "";
    /// `other`
    other: Others = [Others::A, Others::B, Others::Unknown] => [Same, Same, Same, Same] "";
    /// `skip` on a variant before others
    skip_variant: SkippedVariant = [SkippedVariant::A, SkippedVariant::B] => [Refused, Refused, Same, Same] "SkippedVariant";
    /// `skip` on the last variant
    skip_last_variant: SkippedLastVariant = [SkippedLastVariant::A, SkippedLastVariant::B] => [Same, Same, Same, Same] "";
    /// `with`, `serialize_with`, `deserialize_with`
    with: WithModule = [WithModule { number: 5, after: 6 }] => [Same, Same, Same, Same] "";
    /// `transparent`
    transparent: Transparent = [Transparent(1)] => [Same, Same, Same, Same] "";
    /// `from`, `into`
    from_into: Converted = [Converted(200)] => [Same, Same, Same, Same] "";
    /// `try_from`, `into`
    try_from_into: Checked = [Checked(200)] => [Same, Same, Same, Same] "";
    /// `is_human_readable`
    human_readable: Readable = [Readable(77)] => [Same, Same, Same, Same] "";
    /// Integers of 8 to 64 bits
    integers: (i8, i16, i32, i64, u64) = [(i8::MIN, i16::MIN, i32::MIN, i64::MIN, u64::MAX)] => [Same, Same, Same, Same] "";
    /// `i128`, `u128`
    wide_integers: (i128, u128) = [(i128::MIN, u128::MAX), (-1, 1)] => [Same, Same, Same, Same] "";
    /// `f32`, `f64`, every bit
    floats: (Bits, Bits32) = [(Bits(-0.0), Bits32(f32::MIN_POSITIVE)), (Bits(f64::MAX), Bits32(0.1)), (Bits(5e-324), Bits32(1e-45)), (Bits(0.1 + 0.2), Bits32(f32::MAX)), (Bits(31.245270191439438), Bits32(16777216.0)), (Bits(121.48791951161945), Bits32(-0.0))] => [Same, Same, Same, Same] "";
    /// NaN and infinities
    not_finite: Bits = [Bits(f64::NAN), Bits(f64::INFINITY), Bits(f64::NEG_INFINITY)] => [Same, Same, Same, Refused] "no number";
    /// `Option` of NaN
    option_not_finite: Option<Bits32> = [Some(Bits32(f32::NAN))] => [Same, Same, Same, Refused] "no number";
    /// `char`
    chars: Vec<char> = [vec!['a', 'ß', '\u{10ffff}', '\0']] => [Same, Same, Same, Same] "";
    /// `String`, `Box<str>`, `Cow<str>`
    strings: (String, Box<str>, Cow<'static, str>) = [(text("a\0\"\\\u{1}"), "b".into(), "c".into())] => [Same, Same, Same, Same] "";
    /// `()` and unit structs
    units: ((), Unit) = [((), Unit)] => [Same, Same, Same, Same] "";
    /// Newtypes
    newtype: (Newtype, NewtypeOption) = [(Newtype(text("n")), NewtypeOption(None)), (Newtype(text("")), NewtypeOption(Some(1)))] => [Same, Same, Same, Same] "";
    /// Tuple structs and arrays
    tuples: (Tuple, [u16; 3]) = [(Tuple(1, text("t")), [1, 2, 3])] => [Same, Same, Same, Same] "";
    /// Unit, newtype, tuple and struct variants
    variants: Vec<Variants> = [vec![Variants::Unit, Variants::New(1), Variants::Tuple(2, text("t")), Variants::Struct { a: 1, b: None }, Variants::Struct { a: 1, b: Some(2) }]] => [Same, Same, Same, Same] "";
    /// Recursive types
    recursive: Tree = [tree(0), tree(9)] => [Same, Same, Same, Same] "";
    /// Generic types
    generic: Generic = [Generic { list: List { first: 1, rest: Some(Box::new(List { first: 2, rest: None })) } }] => [Same, Same, Same, Same] "";
    /// `Option<T>`
    option: (Option<u8>, Option<String>) = [(None, Some(text(""))), (Some(0), None)] => [Same, Same, Same, Same] "";
    /// `Option<Option<T>>`: `None`, `Some(Some(x))`
    option_option: Option<Option<u8>> = [None, Some(Some(1))] => [Same, Same, Same, Same] "";
    /// `Option<Option<T>>`: `Some(None)`
    some_none: Option<Option<u8>> = [Some(None)] => [Same, Same, Refused, Refused] "`Some` of an empty value";
    /// `Option<T>` of a newtype of `None`
    some_newtype_none: Option<NewtypeOption> = [Some(NewtypeOption(None))] => [Same, Same, Refused, Refused] "`Some` of an empty value";
    /// `Option<()>`: `Some(())`
    some_unit: Option<()> = [Some(())] => [Same, Same, Refused, Refused] "`Some` of an empty value";
    /// `Option` of a unit struct
    some_unit_struct: Option<Unit> = [Some(Unit)] => [Same, Same, Same, Refused] "`Some` of an empty value";
    /// `Vec<u8>`, `Bytes`
    bytes: (Vec<u8>, Bytes, Option<Vec<u8>>) = [(vec![0, 255], Bytes::from_static(b"x"), Some(vec![]))] => [Same, Same, Same, Same] "";
    /// `Vec<Vec<u8>>`
    bytes_inside: Vec<Vec<u8>> = [vec![vec![0, 200], vec![]]] => [Same, Same, Same, Same] "";
    /// `[u8; N]`
    byte_array: [u8; 32] = [[200; 32]] => [Same, Same, Same, Same] "";
    /// Sequences and sets
    sequences: (Vec<u16>, BTreeSet<String>, Vec<()>) = [(vec![1, 2], BTreeSet::from([text("s")]), vec![(); 3])] => [Same, Same, Same, Same] "";
    /// Sequences of unknown length
    unknown_length: Unsized = [Unsized(vec![1, 2])] => [Refused, Refused, Same, Same] "without its length";
    /// Maps with text or integer keys
    map: (HashMap<String, u8>, BTreeMap<i64, String>, BTreeMap<u128, u8>) = [(HashMap::from([(text("k"), 1)]), BTreeMap::from([(-1, text("v"))]), BTreeMap::from([(u128::MAX, 1)]))] => [Same, Same, Same, Same] "";
    /// Maps with `bool` or `char` keys
    map_bool: (BTreeMap<bool, u8>, BTreeMap<char, u8>) = [(BTreeMap::from([(true, 1), (false, 2)]), BTreeMap::from([('"', 1)]))] => [Same, Same, Same, Same] "";
    /// Maps with unit variants or newtypes of text as keys
    map_enum: (BTreeMap<Key, u8>, BTreeMap<KeyText, u8>) = [(BTreeMap::from([(Key::A, 1), (Key::B, 2)]), BTreeMap::from([(KeyText(text("k")), 1)]))] => [Same, Same, Same, Same] "";
    /// Maps with tuples as keys
    map_tuple: BTreeMap<(u8, u8), u8> = [BTreeMap::from([((1, 2), 3)])] => [Same, Same, Same, Refused] "key must be a string";
    /// Maps with structs as keys
    map_struct: BTreeMap<KeyStruct, u8> = [BTreeMap::from([(KeyStruct { a: 1 }, 3)])] => [Same, Same, Same, Refused] "key must be a string";
    /// `serde_json::Value`
    value: Value = [Value::Null, json!({"a": [1, -2, 2.5, "t", true, null]})] => [Refused, Refused, Same, Same] "serde_json::value::Value";
    /// `Option<serde_json::Value>`: `Some(Null)`
    some_value_null: Option<Value> = [Some(Value::Null)] => [Refused, Refused, Refused, Refused] "";
    /// `Duration`, `SystemTime`
    times: (Duration, SystemTime) = [(Duration::new(1, 2), SystemTime::UNIX_EPOCH + Duration::new(3, 4))] => [Same, Same, Same, Same] "";
    /// `IpAddr`, `PathBuf`, `NonZero`, ranges, `Result`
    std_types: (IpAddr, PathBuf, std::num::NonZeroU8, std::ops::Range<u8>, Vec<Result<u8, String>>) = [(IpAddr::from([127, 0, 0, 1]), PathBuf::from("/a"), std::num::NonZeroU8::MAX, 1..2, vec![Ok(1), Err(text("e"))])] => [Same, Same, Same, Same] "";
}

/// Passes items that a codec by position does not carry, of which the first does not show it.
#[panpipe::service]
pub trait Items {
    /// The items that come, up to an error.
    async fn collect(&self, entries: Streaming<Entry>) -> (Vec<(Option<u8>, u8)>, Option<String>);
    /// Two items.
    async fn give(&self) -> Streaming<Entry>;
    /// Sends one, and says why that failed.
    async fn send(&self, to: Sender<Entry>) -> Option<String>;
    /// The same of items that need a codec that describes itself.
    async fn tagged(&self) -> Streaming<Tagged>;
}

/// The implementation.
#[derive(Debug)]
pub struct Shelf;

/// Items whose encoding leaves nothing out.
#[must_use]
pub fn harmless() -> [Entry; 2] {
    [entry(Some(1), 2), entry(Some(3), 4)]
}

impl Items for Shelf {
    async fn collect(&self, mut entries: Streaming<Entry>) -> (Vec<(Option<u8>, u8)>, Option<String>) {
        let mut come = Vec::new();
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(Entry { quota, level }) => come.push((quota, level)),
                Err(error) => return (come, Some(error.to_string())),
            }
        }
        (come, None)
    }

    async fn give(&self) -> Streaming<Entry> {
        Streaming::new(futures::stream::iter(harmless()))
    }

    async fn send(&self, to: Sender<Entry>) -> Option<String> {
        let [entry, _] = harmless();
        match to.send(entry).await {
            Err(SendError::Unsendable(_, StreamError::Malformed(why))) => Some(why),
            _ => None,
        }
    }

    async fn tagged(&self) -> Streaming<Tagged> {
        Streaming::new(futures::stream::iter([Tagged::Empty]))
    }
}
