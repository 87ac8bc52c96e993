//! Checks once whether a codec carries a type: samples of the type are encoded and decoded.
//!
//! The guard of the encoders sees one value at a time. This check sees the type: it finds
//! `#[serde(tag)]`, `untagged`, `flatten` and other types that need a self-describing codec,
//! structs that write other fields than they read, and fields that are left out only for some
//! values. A sample comes from the type's own `Deserialize`, so the type accepts it. A type of
//! which no sample can be made is accepted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encode_guard::{Format, NEEDS_DESCRIPTION};
use super::sampler::{ROUNDS, Sampler, Undescribed};
use super::{Codec, EncodeError, TypeCheck};

/// Checks that `codec` carries every sample of `T`.
pub(super) fn check<C: Codec + Format, T: Serialize + DeserializeOwned>(
    codec: &C,
) -> Result<TypeCheck, EncodeError> {
    let sampler = Sampler::new(C::HUMAN_READABLE);
    // A type whose `Deserialize` or `Serialize` panics on a sample is not judged.
    catch_unwind(AssertUnwindSafe(|| check_samples::<C, T>(codec, &sampler))).unwrap_or(Ok(TypeCheck::Passed))
}

fn check_samples<C: Codec + Format, T: Serialize + DeserializeOwned>(
    codec: &C,
    sampler: &Sampler,
) -> Result<TypeCheck, EncodeError> {
    let mut check = TypeCheck::Passed;
    for round in 0..ROUNDS {
        let sample = sampler.sample::<T>(round);
        if let Some(undescribed) = sampler.take_undescribed() {
            if !C::SELF_DESCRIBING {
                return Err(needs_description::<C>(&undescribed));
            }
            check = TypeCheck::Unknown;
        }
        if sampler.is_primitive() {
            break;
        }
        if let Ok(sample) = sample {
            check_sample(codec, &sample, sampler)?;
        }
        if sampler.is_exhausted() {
            break;
        }
    }
    Ok(check)
}

/// Checks that a sample arrives as it was sent.
fn check_sample<C: Codec + Format, T: Serialize + DeserializeOwned>(
    codec: &C,
    sample: &T,
    sampler: &Sampler,
) -> Result<(), EncodeError> {
    let encode = |value: &T| {
        let mut out = Vec::new();
        C::encode_guarded(value, &mut out).map(|()| out)
    };
    let sent = match encode(sample) {
        Ok(sent) => sent,
        Err(refused) if refused.of_type => return Err(EncodeError(refused.message)),
        // Other values of the type may pass.
        Err(_) => return Ok(()),
    };
    let problem = match codec.decode::<T>(&sent) {
        Err(error) => error.to_string(),
        Ok(received) => {
            let same = |value: &T| encode(value).is_ok_and(|again| again == sent);
            // Not judged: a type that encodes one value in more than one way, and one that
            // decodes one message to more than one value.
            let again = codec.decode::<T>(&sent).ok().and_then(|value| encode(&value).ok());
            let is_stable = encode(&received).ok() == again;
            if same(&received) || !same(sample) || !is_stable {
                return Ok(());
            }
            "another value arrives".to_owned()
        }
    };
    Err(changed::<C>(&problem, sampler))
}

fn needs_description<C: Format>(Undescribed { type_name, path }: &Undescribed) -> EncodeError {
    let path: Vec<_> = path.iter().map(|(of, field)| format!("`{of}.{field}`")).collect();
    let at = if path.is_empty() { String::new() } else { format!(" at {}", path.join(", in ")) };
    EncodeError(format!(
        "the type `{type_name}`{at} needs a codec that describes itself (`#[serde(flatten)]`, `tag`, `untagged` and `serde_json::Value` do), which {} does not; {NEEDS_DESCRIPTION}",
        C::NAME
    ))
}

/// The error for a type that arrives as another value or not at all.
fn changed<C: Format>(problem: &str, sampler: &Sampler) -> EncodeError {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut types: Vec<_> = sampler
        .structs()
        .iter()
        .map(|(name, fields)| match fields {
            [] => format!("`{name}`"),
            fields => format!("`{name}`, which reads {}", quoted(fields)),
        })
        .collect();
    types.extend(sampler.enums().iter().map(|name| format!("`{name}`")));
    let hint = if C::WRITES_NAMES {
        "compare the type's serde attributes for writing with those for reading"
    } else {
        "remove the serde attribute that makes them differ, such as `skip_serializing`, or choose JSON, by `.codec(Codec::Json)`"
    };
    EncodeError(format!(
        "what the type writes with {} is not what the type reads, somewhere in {}: {problem}; {hint}",
        C::NAME,
        types.join("; ")
    ))
}
