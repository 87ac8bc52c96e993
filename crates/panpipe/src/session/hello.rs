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

/// The feature of a side that takes traces with the calls of its peer.
pub(crate) const TAKES_TRACES: u64 = 1;

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
    /// The service that this side offers at the root port.
    pub(crate) offers: Option<ServiceInfo>,
    pub(crate) ports: PortLimits,
}

/// How much of ports and streams one side takes. A peer that says nothing of it
/// takes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PortLimits {
    /// How many ports the other side may have open at once.
    pub(crate) ports: u64,
    /// How many items of a stream may come before the first are read.
    pub(crate) items: u64,
    /// The same in bytes. An item that is larger counts as so many, and as all
    /// its bytes towards `large`.
    pub(crate) bytes: u64,
    /// How many bytes of larger items may come before the first are read.
    pub(crate) large: u64,
}

impl From<&Limits> for PortLimits {
    fn from(limits: &Limits) -> Self {
        PortLimits {
            ports: u64::from(limits.max_ports),
            items: u64::from(limits.stream_items),
            bytes: limits.stream_bytes as u64,
            large: limits.large_item_bytes as u64,
        }
    }
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
            features: TAKES_TRACES,
            max_message: limits.max_message as u64,
            max_calls: u64::from(limits.max_calls),
            max_call_bytes: limits.max_call_bytes as u64,
            wants,
            offers,
            ports: PortLimits::from(limits),
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
        let PortLimits { ports, items, bytes, large } = self.ports;
        for limit in [ports, items, bytes, large] {
            varint::put(out, limit);
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
            ports: take_ports(rest)?,
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
        Ok(())
    }
}

/// Which of the services on offer is `wanted`; a refusal in words where none is.
pub(crate) fn find_service(offers: &[ServiceInfo], wanted: &ServiceInfo) -> Result<usize, Refusal> {
    let refuse = |reason, message| Err(Refusal { reason, message });
    if let Some(index) = offers.iter().position(|offered| offered == wanted) {
        return Ok(index);
    }
    let versions: Vec<_> = offers.iter().filter(|offered| offered.name == wanted.name).collect();
    if let [first, rest @ ..] = versions.as_slice() {
        let others: String = rest.iter().map(|other| format!(", {}", other.version)).collect();
        return refuse(
            RefusalReason::ServiceVersion,
            format!(
                "the service {wanted} was asked for, but this side offers version {}{others}",
                first.version
            ),
        );
    }
    let offered: Vec<_> = offers.iter().map(ToString::to_string).collect();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    refuse(
        RefusalReason::Service,
        format!("the service {wanted} was asked for, but this side offers {offered}"),
    )
}

/// A peer without ports ends its hello before them.
fn take_ports(rest: &mut &[u8]) -> Option<PortLimits> {
    if rest.is_empty() {
        return Some(PortLimits::default());
    }
    Some(PortLimits {
        ports: varint::take(rest)?,
        items: varint::take(rest)?,
        bytes: varint::take(rest)?,
        large: varint::take(rest)?,
    })
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
        let whole = bytes.len();
        let without_ports = {
            let mut rest = Hello::decode(&bytes).unwrap();
            rest.ports = PortLimits::default();
            let mut short = Vec::new();
            rest.encode(&mut short);
            short.len() - 4
        };
        for cut in (0..whole).filter(|&cut| cut != without_ports) {
            assert_eq!(Hello::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Hello::decode(&bytes[..without_ports]).unwrap().ports, PortLimits::default());
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let info = |name, version| ServiceInfo::new(name, version);
        let offers = [info("Cart", 1), info("Store", 2)];
        assert_eq!(find_service(&offers, &info("Store", 2)), Ok(1));
        let refusal = find_service(&offers, &info("Stoer", 2)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Service);
        assert!(refusal.message.contains("Stoer version 2") && refusal.message.contains("Store version 2"));
        let refusal = find_service(&offers, &info("Store", 1)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
        assert!(refusal.message.contains("offers version 2"));
        assert!(find_service(&[], &info("Store", 1)).unwrap_err().message.contains("none"));
        let server = hello(None, Some(("Store", 2)));
        let old = Hello { protocol: 9, ..hello(None, None) };
        assert_eq!(server.check(&old).unwrap_err().reason, RefusalReason::ProtocolVersion);
        let odd = Hello { codec: 77, ..hello(None, None) };
        assert_eq!(server.check(&odd).unwrap_err().reason, RefusalReason::Codec);
    }
}
