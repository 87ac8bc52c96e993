//! Metadata: named values that travel beside the arguments of a call, or with a connection.

// Lengths of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::any::type_name;
use std::sync::Arc;

use panpipe_transport::codec::{Codec as _, Json};
use panpipe_transport::varint;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::error::CallError;
use crate::limits;
use crate::session::{put_str, take_str};

/// A value that travels with a call or a connection, beside the arguments.
///
/// A caller's tenant, locale or request id concern every method and belong to none: put them
/// into metadata instead of into each signature. Each type has a name, by which the other side
/// finds it; values of several names travel together, so that a library's layer and the
/// application do not get in each other's way.
///
/// ```
/// use panpipe::{CallError, Metadata, Server, call};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Tenant {
///     id: u64,
/// }
///
/// impl Metadata for Tenant {
///     const NAME: &'static str = "acme.tenant";
/// }
///
/// #[panpipe::service]
/// pub trait Store {
///     async fn owner(&self) -> Result<u64, String>;
/// }
///
/// struct Db;
///
/// impl Store for Db {
///     async fn owner(&self) -> Result<u64, String> {
///         match call::metadata::<Tenant>() {
///             Ok(Some(tenant)) => Ok(tenant.id),
///             Ok(None) => Err("which tenant?".to_owned()),
///             Err(error) => Err(error.to_string()),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc.metadata.{}", std::process::id());
/// let server = Server::bind(&name).service(Db.serve()).start()?;
/// let store = StoreClient::connect(&name).await?;
/// assert!(matches!(store.owner().await, Err(CallError::App(_))));
///
/// // A client whose calls carry it. It shares the connection of the other.
/// let store = store.with_metadata(&Tenant { id: 7 });
/// assert_eq!(store.owner().await?, 7);
/// # server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
///
/// # With a call
///
/// The generated clients' `with_metadata` makes a client each of whose calls and one-way calls
/// carries the value; a second value of the same name replaces the first. The value is encoded
/// once. The handler reads it by [`call::metadata`](crate::call::metadata), a rule or layer by
/// [`CallInfo::metadata`](crate::CallInfo::metadata). Calls that a client
/// [makes again](crate::Connect::reconnect) carry it again. The call that opens a stream
/// carries it, the items of the stream do not.
///
/// **A handler does not pass on the metadata of the call that it answers**, unlike deadline and
/// trace, unless it calls through a client made by `with_inherited_metadata`. Such a client's
/// own values replace inherited ones of the same name. Outside of a handler, and in a task that
/// a handler has spawned, there is nothing to inherit.
///
/// A client that is passed to another process as a value, and a
/// [gateway](crate::ServiceClient::relayed), relay calls rather than make them: the metadata of
/// a relayed call goes on to the service that answers. Values that the relaying client carries
/// itself replace the caller's.
///
/// # With a connection
///
/// What holds for all calls of a connection, such as the version of the calling program, can be
/// given once: to [`Connect::metadata`](crate::Connect::metadata),
/// [`Spawn::metadata`](crate::Spawn::metadata) or
/// [`PluginBuilder::metadata`](crate::PluginBuilder::metadata) by the side that connects, and to
/// [`Server::metadata`](crate::Server::metadata) by a server. It travels in the hello, also of
/// each later connection of a client that reconnects. Handlers read it by
/// [`call::connection_metadata`](crate::call::connection_metadata), clients by
/// [`ServiceClient::connection_metadata`](crate::ServiceClient::connection_metadata), a server
/// by [`Connection::metadata`](crate::Connection::metadata) of the connected client. Metadata of
/// a connection and metadata of a call are apart from each other. A child or plugin gives none
/// of its own.
///
/// # Limits
///
/// All values of a call together, with their names and lengths, may have as many bytes as the receiver's
/// [`Limits::max_metadata`](crate::Limits::max_metadata) says, 8 KiB if it is not set: a call
/// with more fails with [`CallError::MetadataTooLarge`]. Those of a connection have 1,536 bytes
/// at most. Where the peer is older than metadata, or accepts none, this side fails calls that
/// carry some with [`CallError::Unsupported`]; such a peer does not see those of a connection.
/// [One-way pipes](crate::oneway) and tarpc's transports carry no metadata, and fail such calls
/// in the same way. A local client without encoding has no limit.
///
/// # Encoding
///
/// Values travel as JSON, whichever codec the connection uses, so that fields can be added: give
/// a new field `#[serde(default)]`, and both sides may be the newer one. Types have to be ones
/// that JSON carries, see [`serde_features`](crate::serde_features);
/// [`Limits::max_depth`](crate::Limits::max_depth) does not apply to them. Streams, senders and clients
/// cannot be metadata.
///
/// # Trust
///
/// Metadata are what the caller says. They do not prove who it is: for that see
/// [`call::peer`](crate::call::peer).
pub trait Metadata: Serialize + DeserializeOwned {
    /// Names the value, in 1 to 255 bytes; both sides have to use the same. Begin it with the
    /// name of the crate or product, as in `"acme.tenant"`.
    const NAME: &'static str;
}

/// Why metadata cannot be read or given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The value cannot be encoded as JSON.
    #[error("the metadata {name} cannot be encoded as JSON: {why}")]
    Encode {
        /// The name of the value.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The value that came is none of the type.
    #[error(
        "the metadata {name} cannot be decoded as {type_name}: {why}; use the same type for this name on both sides"
    )]
    Decode {
        /// The name of the value.
        name: String,
        /// The type that was asked for.
        type_name: &'static str,
        /// What is wrong with the value.
        why: String,
    },
    /// The other side gave more metadata for the connection than this side accepts: they were
    /// not kept.
    #[error(
        "the other side's metadata of {size} bytes are over this side's limit of {limit}; raise `Limits::max_metadata` here or give less there"
    )]
    OverLimit {
        /// How many bytes they have.
        size: u64,
        /// How many this side accepts.
        limit: u64,
    },
    /// A connection was given more metadata than a hello has room for.
    #[error(
        "a connection's metadata have {limit} bytes at most, and these have {size}; give less, or pass large values with a call"
    )]
    TooLarge {
        /// How many bytes they have.
        size: usize,
        /// How many they may have.
        limit: usize,
    },
}

/// The longest name of a value.
const LONGEST_NAME: usize = 255;

/// How many bytes the length behind a call's metadata takes.
const TRAILER_LEN: usize = 4;

/// Values and their names, as they travel. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetadataSet {
    /// For each value its name, and its JSON behind its length. The structure has been checked.
    Entries(Arc<[u8]>),
    /// A value could not be encoded: the call is not made.
    Unencodable(Arc<MetadataError>),
    /// What came is over the limit of this side and was not kept: the call is refused.
    OverLimit { size: usize, limit: usize },
}

impl MetadataSet {
    /// One value, and those of `before` that have another name.
    pub(crate) fn with<M: Metadata>(before: Option<&MetadataSet>, value: &M) -> MetadataSet {
        const {
            assert!(
                !M::NAME.is_empty() && M::NAME.len() <= LONGEST_NAME,
                "the name of metadata has 1 to 255 bytes"
            );
        }
        if let Some(faulty @ (MetadataSet::Unencodable(_) | MetadataSet::OverLimit { .. })) = before {
            return faulty.clone();
        }
        let mut json = Vec::new();
        if let Err(error) = Json.encode(value, &mut json) {
            let (name, why) = (M::NAME.to_owned(), error.to_string());
            return MetadataSet::Unencodable(Arc::new(MetadataError::Encode { name, why }));
        }
        let mut out = Vec::new();
        for (name, value) in before.into_iter().flat_map(MetadataSet::entries) {
            if name != M::NAME {
                put_entry(&mut out, name, value);
            }
        }
        put_entry(&mut out, M::NAME, &json);
        MetadataSet::Entries(out.into())
    }

    /// These values, and those of `inherited` that have other names.
    pub(crate) fn over(&self, inherited: &MetadataSet) -> MetadataSet {
        let MetadataSet::Entries(own) = self else { return self.clone() };
        let mut out = own.to_vec();
        for (name, value) in inherited.entries() {
            if self.find(name).is_none() {
                put_entry(&mut out, name, value);
            }
        }
        MetadataSet::Entries(out.into())
    }

    /// Reads what a peer has sent; `None` where it cannot be read. More than `limit` bytes are
    /// not kept.
    pub(crate) fn read(bytes: &[u8], limit: usize) -> Option<MetadataSet> {
        let mut rest = bytes;
        while !rest.is_empty() {
            take_entry(&mut rest)?;
        }
        Some(match bytes.len() {
            size if size > limit => MetadataSet::OverLimit { size, limit },
            _ => MetadataSet::Entries(bytes.into()),
        })
    }

    /// Takes the metadata off the end of a call's body. Gives them, and where the rest ends.
    pub(crate) fn read_behind(body: &[u8], limit: usize) -> Option<(MetadataSet, usize)> {
        let (rest, len) = body.split_last_chunk::<TRAILER_LEN>()?;
        let end = rest.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
        Some((MetadataSet::read(&rest[end..], limit)?, end))
    }

    /// Appends the metadata to a call's body.
    pub(crate) fn put_behind(&self, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            MetadataSet::Entries(entries) => {
                let len = u32::try_from(entries.len()).map_err(|_| "the metadata have over 4 GiB")?;
                out.extend_from_slice(entries);
                out.extend_from_slice(&len.to_le_bytes());
                Ok(())
            }
            MetadataSet::Unencodable(error) => Err(error.to_string()),
            // Of a call that is refused nothing is inherited.
            MetadataSet::OverLimit { .. } => Err("the metadata were not kept".to_owned()),
        }
    }

    /// The values as they travel.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            MetadataSet::Entries(entries) => entries,
            MetadataSet::Unencodable(_) | MetadataSet::OverLimit { .. } => &[],
        }
    }

    /// What a connection is given, if anything: no more than a hello has room for.
    pub(crate) fn for_hello(given: Option<MetadataSet>) -> Result<Option<MetadataSet>, MetadataError> {
        given.map(MetadataSet::fitting_hello).transpose()
    }

    fn fitting_hello(self) -> Result<MetadataSet, MetadataError> {
        let limit = limits::CONNECTION_METADATA;
        match self {
            MetadataSet::Unencodable(error) => Err(MetadataError::clone(&error)),
            set if set.bytes().len() > limit => {
                Err(MetadataError::TooLarge { size: set.bytes().len(), limit })
            }
            set => Ok(set),
        }
    }

    /// The same of a connection's peer: no more than `limit` bytes are kept.
    pub(crate) fn within(self, limit: usize) -> MetadataSet {
        match self.bytes().len() {
            size if size > limit => MetadataSet::OverLimit { size, limit },
            _ => self,
        }
    }

    /// Why a call that has them is not to be made or answered.
    pub(crate) fn fault(&self) -> Option<CallError> {
        match self {
            MetadataSet::Entries(_) => None,
            MetadataSet::Unencodable(error) => Some(CallError::Malformed(error.to_string())),
            &MetadataSet::OverLimit { size, limit } => {
                Some(CallError::MetadataTooLarge { size: size as u64, limit: limit as u64 })
            }
        }
    }

    /// The value of a type, if there is one of its name.
    pub(crate) fn get<M: Metadata>(&self) -> Result<Option<M>, MetadataError> {
        if let &MetadataSet::OverLimit { size, limit } = self {
            return Err(MetadataError::OverLimit { size: size as u64, limit: limit as u64 });
        }
        let Some(json) = self.find(M::NAME) else { return Ok(None) };
        Json.decode(json).map(Some).map_err(|error| MetadataError::Decode {
            name: M::NAME.to_owned(),
            type_name: type_name::<M>(),
            why: error.to_string(),
        })
    }

    /// The first value of a name: a peer should send no second one.
    fn find(&self, wanted: &str) -> Option<&[u8]> {
        self.entries().find_map(|(name, value)| (name == wanted).then_some(value))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.bytes();
        std::iter::from_fn(move || take_entry(&mut rest))
    }
}

fn put_entry(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put_str(out, name);
    varint::put(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Takes a name and its value off the front of `rest`.
fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let name = take_str(rest, LONGEST_NAME)?;
    let len = usize::try_from(varint::take(rest)?).ok()?;
    let (value, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Tenant {
        id: u64,
    }

    impl Metadata for Tenant {
        const NAME: &'static str = "tenant";
    }

    /// The same of a later version.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NewTenant {
        id: u64,
        #[serde(default)]
        region: Option<String>,
    }

    impl Metadata for NewTenant {
        const NAME: &'static str = "tenant";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Locale(String);

    impl Metadata for Locale {
        const NAME: &'static str = "locale";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ratio(f64);

    impl Metadata for Ratio {
        const NAME: &'static str = "ratio";
    }

    fn both() -> MetadataSet {
        let tenant = MetadataSet::with(None, &Tenant { id: 7 });
        MetadataSet::with(Some(&tenant), &Locale("de".to_owned()))
    }

    #[test]
    fn values_of_several_names_travel_together() {
        let mut body = b"arguments".to_vec();
        both().put_behind(&mut body).unwrap();
        let (read, end) = MetadataSet::read_behind(&body, 100).unwrap();
        assert_eq!((&read, &body[..end]), (&both(), &b"arguments"[..]));
        assert_eq!(read.get(), Ok(Some(Tenant { id: 7 })));
        assert_eq!(read.get(), Ok(Some(Locale("de".to_owned()))));
        assert_eq!(read.get::<Ratio>(), Ok(None));
    }

    #[test]
    fn a_second_value_of_a_name_replaces_the_first() {
        let set = MetadataSet::with(Some(&both()), &Tenant { id: 8 });
        assert_eq!(set.get(), Ok(Some(Tenant { id: 8 })));
        assert_eq!(set.entries().count(), 2);
    }

    #[test]
    fn own_values_replace_inherited_ones_of_the_same_name() {
        let own = MetadataSet::with(None, &Tenant { id: 8 });
        let set = own.over(&both());
        assert_eq!(set.get(), Ok(Some(Tenant { id: 8 })));
        assert_eq!(set.get(), Ok(Some(Locale("de".to_owned()))));
        assert_eq!(set.entries().count(), 2);
    }

    #[test]
    fn a_type_with_more_fields_reads_an_older_one_and_is_read_by_it() {
        let older = MetadataSet::with(None, &Tenant { id: 7 });
        assert_eq!(older.get(), Ok(Some(NewTenant { id: 7, region: None })));
        let newer = MetadataSet::with(None, &NewTenant { id: 7, region: Some("eu".to_owned()) });
        assert_eq!(newer.get(), Ok(Some(Tenant { id: 7 })));
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_both() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Other(String);
        impl Metadata for Other {
            const NAME: &'static str = "tenant";
        }
        let error = both().get::<Other>().unwrap_err().to_string();
        assert!(error.contains("tenant") && error.contains("Other"), "{error}");
    }

    #[test]
    fn a_value_that_json_does_not_carry_is_told_when_the_call_is_made() {
        let set = MetadataSet::with(Some(&both()), &Ratio(f64::NAN));
        // Further values do not hide it.
        let set = MetadataSet::with(Some(&set), &Tenant { id: 7 });
        let why = set.put_behind(&mut Vec::new()).unwrap_err();
        assert!(why.contains("ratio") && why.contains("JSON"), "{why}");
        assert_eq!(set.fault(), Some(CallError::Malformed(why)));
        assert!(matches!(MetadataSet::for_hello(Some(set)), Err(MetadataError::Encode { .. })));
    }

    #[test]
    fn every_cut_and_every_wrong_length_is_refused() {
        let mut whole = Vec::new();
        both().put_behind(&mut whole).unwrap();
        let entries = both().bytes().len();
        for cut in 0..entries {
            let is_between = cut == 0 || cut == MetadataSet::with(None, &Tenant { id: 7 }).bytes().len();
            assert_eq!(MetadataSet::read(&whole[..cut], 100).is_some(), is_between, "cut at {cut}");
        }
        for cut in 0..whole.len() {
            assert_eq!(MetadataSet::read_behind(&whole[..cut], 100), None, "cut at {cut}");
        }
        for len in (0..=u32::MAX).step_by(0x00ff_fff1).chain(0..100) {
            let bytes = [&whole[..entries], &len.to_le_bytes()].concat();
            let is_whole = len as usize == entries;
            // Some of the lengths fall between the two values.
            let is_one = len as usize == entries - MetadataSet::with(None, &Tenant { id: 7 }).bytes().len();
            assert_eq!(
                MetadataSet::read_behind(&bytes, 100).is_some(),
                is_whole || is_one || len == 0,
                "{len}"
            );
        }
        // A name that is too long, or is no text.
        assert_eq!(MetadataSet::read(&[&[0x80, 2][..], &[b'a'; 256], &[0]].concat(), 1000), None);
        assert_eq!(MetadataSet::read(&[1, 0xff, 0], 1000), None);
    }

    #[test]
    fn what_is_over_the_limit_is_not_kept() {
        let bytes = both().bytes().to_vec();
        let size = bytes.len();
        assert_eq!(MetadataSet::read(&bytes, size), Some(both()));
        let set = MetadataSet::read(&bytes, size - 1).unwrap();
        assert_eq!(set.bytes(), b"");
        let (size, limit) = (size as u64, size as u64 - 1);
        assert_eq!(set.fault(), Some(CallError::MetadataTooLarge { size, limit }));
        assert_eq!(set.get::<Tenant>(), Err(MetadataError::OverLimit { size, limit }));
        // A value over the limit is refused as a broken one is: it may be both.
        assert_eq!(MetadataSet::read(&[1, b'a', 200], 1), None);
    }

    #[test]
    fn a_connection_has_as_many_bytes_as_a_hello_has_room_for() {
        let of = |len: usize| MetadataSet::for_hello(Some(MetadataSet::with(None, &Locale("x".repeat(len)))));
        // The name, two lengths and two quotes.
        let most = limits::CONNECTION_METADATA - 7 - 2 - 2;
        assert!(of(most).is_ok());
        let error = of(most + 1).unwrap_err().to_string();
        assert!(error.contains("1537") && error.contains("1536"), "{error}");
    }
}
