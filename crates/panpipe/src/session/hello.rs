//! The hello: what each side says of itself before anything else, and whether
//! the two can talk.

use std::borrow::Cow;
use std::fmt;

use panpipe_transport::varint;

use super::message::{PROTOCOL_VERSION, put_str, take_str};
use crate::codec::Codec;
use crate::error::{Refusal, RefusalReason};
use crate::limits::{self, Limits};

/// A service's name and version, as the hello carries them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    name: Cow<'static, str>,
    version: u32,
}

impl ServiceInfo {
    /// A service of this name and version.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, version: u32) -> Self {
        ServiceInfo { name: name.into(), version }
    }

    /// What a side asks for that calls nothing.
    pub(crate) fn none() -> Self {
        ServiceInfo::new("", 0)
    }

    /// `None` for no service.
    pub(crate) fn or_none(self) -> Option<Self> {
        (!self.name.is_empty()).then_some(self)
    }

    /// The service's name: its trait's, unless the attribute gives another.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The service's version, 1 unless the attribute gives another.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Display for ServiceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

/// What one side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocol: u64,
    pub(crate) codec: u64,
    pub(crate) features: u64,
    /// The largest frame that this side accepts, in bytes.
    pub(crate) max_message: u64,
    /// How many calls this side runs at once for its peer.
    pub(crate) max_calls: u64,
    /// How many bytes of calls this side holds at once for its peer.
    pub(crate) max_call_bytes: u64,
    /// The service that this side wants to call.
    pub(crate) wants: Option<ServiceInfo>,
    /// The service that this side offers.
    pub(crate) offers: Option<ServiceInfo>,
}

impl Hello {
    pub(crate) fn new(
        codec: Codec,
        limits: &Limits,
        wants: Option<ServiceInfo>,
        offers: Option<ServiceInfo>,
    ) -> Self {
        Hello {
            protocol: PROTOCOL_VERSION,
            codec: codec.id(),
            features: 0,
            max_message: limits.max_message as u64,
            max_calls: u64::from(limits.max_calls),
            max_call_bytes: limits.max_call_bytes as u64,
            wants,
            offers,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.protocol);
        varint::put(out, self.codec);
        varint::put(out, self.features);
        varint::put(out, self.max_message);
        varint::put(out, self.max_calls);
        varint::put(out, self.max_call_bytes);
        for service in [&self.wants, &self.offers] {
            put_str(out, service.as_ref().map_or("", ServiceInfo::name));
            varint::put(out, service.as_ref().map_or(0, |service| u64::from(service.version)));
        }
    }

    /// Reads a hello. Bytes after the known fields are a later version's and
    /// are passed over.
    pub(crate) fn decode(mut rest: &[u8]) -> Option<Hello> {
        let rest = &mut rest;
        Some(Hello {
            protocol: varint::take(rest)?,
            codec: varint::take(rest)?,
            features: varint::take(rest)?,
            max_message: varint::take(rest)?,
            max_calls: varint::take(rest)?,
            max_call_bytes: varint::take(rest)?,
            wants: take_service(rest)?,
            offers: take_service(rest)?,
        })
    }

    /// Whether this side, whose own hello this is, can talk with `peer`.
    pub(crate) fn check(&self, peer: &Hello) -> Result<(), Refusal> {
        let refuse = |reason, message| Err(Refusal { reason, message });
        if peer.protocol != self.protocol {
            return refuse(
                RefusalReason::ProtocolVersion,
                format!(
                    "this side speaks version {} of panpipe's protocol, the other side version {}",
                    self.protocol, peer.protocol
                ),
            );
        }
        if Codec::from_id(peer.codec).is_none() {
            return refuse(
                RefusalReason::Codec,
                format!(
                    "this side was built without the codec number {}; enable its feature or connect with another codec",
                    peer.codec
                ),
            );
        }
        match (&peer.wants, &self.offers) {
            (None, _) => Ok(()),
            (Some(wanted), None) => refuse(
                RefusalReason::Service,
                format!("the service {wanted} was asked for, but this side offers none"),
            ),
            (Some(wanted), Some(offered)) if wanted.name != offered.name => refuse(
                RefusalReason::Service,
                format!("the service {wanted} was asked for, but this side offers {offered}"),
            ),
            (Some(wanted), Some(offered)) if wanted.version != offered.version => refuse(
                RefusalReason::ServiceVersion,
                format!(
                    "the service {wanted} was asked for, but this side offers version {}",
                    offered.version
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// The outer `None` is a malformed field, the inner one an absent service.
#[allow(clippy::option_option)]
fn take_service(rest: &mut &[u8]) -> Option<Option<ServiceInfo>> {
    let name = take_str(rest, limits::SERVICE_NAME)?.to_owned();
    let version = u32::try_from(varint::take(rest)?).ok()?;
    Some(ServiceInfo::new(name, version).or_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(wants: Option<(&'static str, u32)>, offers: Option<(&'static str, u32)>) -> Hello {
        let info = |(name, version)| ServiceInfo::new(name, version);
        Hello::new(Codec::default(), &Limits::default(), wants.map(info), offers.map(info))
    }

    #[test]
    fn a_hello_reads_back_as_written_and_bytes_of_a_later_version_are_passed_over() {
        let hello = hello(Some(("Store", 3)), None);
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        bytes.extend_from_slice(b"later");
        assert_eq!(Hello::decode(&bytes), Some(hello));
    }

    #[test]
    fn every_cut_of_a_hello_is_malformed() {
        let mut bytes = Vec::new();
        hello(Some(("Store", 3)), Some(("Host", 1))).encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let server = hello(None, Some(("Store", 2)));
        assert_eq!(server.check(&hello(Some(("Store", 2)), None)), Ok(()));
        let refusal = server.check(&hello(Some(("Stoer", 2)), None)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Service);
        assert!(refusal.message.contains("Stoer version 2") && refusal.message.contains("Store version 2"));
        let refusal = server.check(&hello(Some(("Store", 1)), None)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
        let old = Hello { protocol: 9, ..hello(None, None) };
        assert_eq!(server.check(&old).unwrap_err().reason, RefusalReason::ProtocolVersion);
        let odd = Hello { codec: 77, ..hello(None, None) };
        assert_eq!(server.check(&odd).unwrap_err().reason, RefusalReason::Codec);
    }
}
