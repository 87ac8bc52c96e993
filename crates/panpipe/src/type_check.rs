//! Checks once per method whether the connection's codec carries the types of the method.
//!
//! The check runs before the first message with such a type is encoded, in the process that
//! sends it. See [`panpipe_transport::codec::Codec::check`].

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use panpipe_transport::codec::TypeCheck;
use serde::{Serialize, de::DeserializeOwned};

use crate::carried::{self, Carried};
use crate::codec::Codec;
use crate::service::MethodInfo;

/// A part of a call that is encoded by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Arguments,
    Reply,
    Error,
}

/// What is known of a method's types: a bit for each part and codec.
#[derive(Debug)]
pub(crate) struct Checked {
    passed: AtomicU16,
    /// Each value is verified.
    unknown: AtomicU16,
    /// The method's types depend on type parameters: one bit does not tell them apart.
    generic: bool,
}

impl Checked {
    pub(crate) const fn nothing(generic: bool) -> Self {
        Checked { passed: AtomicU16::new(0), unknown: AtomicU16::new(0), generic }
    }

    #[inline]
    fn check<T>(&self, codec: Codec, part: Part, value: &T) -> Result<(), String>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let bit = 1 << (part as u32 * Codec::COUNT + codec.index());
        if self.passed.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        carried::sampling(|| self.check_type(codec, bit, value))
    }

    #[cold]
    #[inline(never)]
    fn check_type<T>(&self, codec: Codec, bit: u16, value: &T) -> Result<(), String>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let check = if self.generic {
            check_generic::<T>(codec)?
        } else if self.unknown.load(Ordering::Relaxed) & bit != 0 {
            TypeCheck::Unknown
        } else {
            let check = codec.check::<T>()?;
            let known = if check == TypeCheck::Passed { &self.passed } else { &self.unknown };
            known.fetch_or(bit, Ordering::Relaxed);
            check
        };
        if check == TypeCheck::Passed { Ok(()) } else { codec.verify(value) }
    }
}

/// What is known of the type of one stream's items.
#[derive(Debug, Default)]
pub(crate) struct CheckedItems {
    known: OnceLock<TypeCheck>,
}

impl CheckedItems {
    /// Checks the type with the first item, and each item of a type that cannot be judged.
    #[inline]
    pub(crate) fn check<T>(&self, codec: Codec, item: &T) -> Result<(), String>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        if self.known.get() == Some(&TypeCheck::Passed) {
            return Ok(());
        }
        carried::sampling(|| self.check_type(codec, item))
    }

    #[cold]
    #[inline(never)]
    fn check_type<T>(&self, codec: Codec, item: &T) -> Result<(), String>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let check = check_generic::<T>(codec)?;
        if *self.known.get_or_init(|| check) == TypeCheck::Passed { Ok(()) } else { codec.verify(item) }
    }
}

/// Checks a type that no method's bit stands for.
fn check_generic<T>(codec: Codec) -> Result<TypeCheck, String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    static KNOWN: LazyLock<RwLock<HashMap<(TypeId, u32), TypeCheck>>> = LazyLock::new(RwLock::default);
    let key = (TypeId::of::<T>(), codec.index());
    if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(*known);
    }
    let check = codec.check::<T>()?;
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(key, check);
    Ok(check)
}

/// Encodes a part of a call, unless the codec does not carry its type.
#[inline]
pub(crate) fn encode<T>(
    info: &MethodInfo,
    part: Part,
    codec: Codec,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<Carried, String>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let encoded = match info.checked.check(codec, part, value) {
        Ok(()) => carried::encode(codec, value, out),
        Err(why) => Err(why),
    };
    encoded.map_err(|why| explain(info, part, &why))
}

#[cold]
fn explain(info: &MethodInfo, part: Part, why: &str) -> String {
    let part = match part {
        Part::Arguments => "the arguments",
        Part::Reply => "the reply",
        Part::Error => "the error",
    };
    format!("{part} of {}: {why}", info.name)
}
