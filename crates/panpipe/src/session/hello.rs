//! The hello: what each side says of itself before anything else, and whether
//! the two can talk.

// Numbers of the peer come in here: no arithmetic on them may wrap or panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::borrow::Cow;
use std::fmt;

use panpipe_transport::varint;

use super::calls::CONTROL_IDS;
use super::message::{PROTOCOL_VERSION, put_str, take_str, take_version};
use crate::codec::Codec;
use crate::error::{Refusal, RefusalReason};
use crate::limits::{self, Limits};
use crate::metadata::MetadataSet;

/// A service's name and the versions of it that one side speaks, as the hello carries
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    name: Cow<'static, str>,
    version: u32,
    oldest: u32,
}

impl ServiceInfo {
    /// A service of this name and version, and of no other version.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, version: u32) -> Self {
        ServiceInfo { name: name.into(), version, oldest: version }
    }

    /// The same service, of which every version from `oldest` on is spoken: at most
    /// the newest.
    #[must_use]
    pub fn with_oldest(self, oldest: u32) -> Self {
        ServiceInfo { oldest: oldest.min(self.version), ..self }
    }

    /// The same service under another name.
    pub(crate) fn named(self, name: String) -> Self {
        ServiceInfo { name: name.into(), ..self }
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

    /// The newest version that is spoken, 1 unless the attribute gives another.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The oldest version that is still spoken.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.oldest
    }

    /// The newest version of one service that both speak.
    pub(crate) fn common(&self, other: &ServiceInfo) -> Option<u32> {
        let version = self.version.min(other.version);
        let is_spoken = self.name == other.name && version >= self.oldest.max(other.oldest);
        is_spoken.then_some(version)
    }

    /// The versions in words.
    fn versions(&self) -> String {
        match self.oldest {
            oldest if oldest == self.version => format!("version {oldest}"),
            oldest => format!("versions {oldest} to {}", self.version),
        }
    }
}

impl fmt::Display for ServiceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.versions())
    }
}

/// The feature of a side that takes traces with the calls of its peer.
pub(crate) const TAKES_TRACES: u64 = 1;

/// The feature of a side that makes a bypass when it is asked to.
pub(crate) const MAKES_BYPASS: u64 = 2;

/// The feature of a side that accepts streams whose writer tells its own credit.
pub(crate) const TAKES_STREAM_CREDIT: u64 = 4;

/// The feature of a side that tells, and is told, how many items of a stream were lost.
pub(crate) const TELLS_LOST: u64 = 16;

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
    /// The services of which the peer is to choose the one at the root port.
    pub(crate) choice: Vec<ServiceInfo>,
    /// How many bytes of one-way calls this side holds for its peer; 0 where it does not
    /// count them.
    pub(crate) oneway_bytes: u64,
    /// How many ids of calls this side takes beyond `max_calls`.
    pub(crate) extra_ids: u64,
    /// How many bytes of metadata this side accepts with a call; 0 for none.
    pub(crate) max_metadata: u64,
    /// What this side says of itself for the connection.
    pub(crate) metadata: Option<MetadataSet>,
}

/// How much of ports and streams one side takes. A peer that says nothing of it
/// takes none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PortLimits {
    /// How many ports the other side may have open at once.
    pub(crate) ports: u32,
    /// How many items of a stream may come before the first are read.
    pub(crate) items: u32,
    /// The same in bytes. An item that is larger counts as so many, and as all
    /// its bytes towards `large`.
    pub(crate) bytes: u64,
    /// How many bytes of larger items may come before the first are read.
    pub(crate) large: u64,
}

impl From<&Limits> for PortLimits {
    fn from(limits: &Limits) -> Self {
        PortLimits {
            ports: limits.max_ports,
            items: limits.stream_items,
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
            features: TAKES_TRACES | TAKES_STREAM_CREDIT | TELLS_LOST,
            max_message: limits.max_message as u64,
            max_calls: u64::from(limits.max_calls),
            max_call_bytes: limits.max_call_bytes as u64,
            wants,
            offers,
            ports: PortLimits::from(limits),
            choice: Vec::new(),
            oneway_bytes: limits.oneway_bytes as u64,
            extra_ids: u64::from(limits.max_nested_calls).saturating_add(u64::from(CONTROL_IDS)),
            max_metadata: limits.max_metadata as u64,
            metadata: None,
        }
    }

    /// The version in which this side, whose own hello this is, calls the service at
    /// the root port of `peer`.
    pub(crate) fn version_called(&self, peer: &Hello) -> Option<u32> {
        match &self.wants {
            Some(wanted) => {
                peer.offers.iter().chain(&peer.choice).filter_map(|offered| offered.common(wanted)).max()
            }
            // Who has not asked speaks the newest.
            None => peer.offers.as_ref().map(ServiceInfo::version),
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
        for limit in [u64::from(ports), u64::from(items), bytes, large] {
            varint::put(out, limit);
        }
        for service in [&self.wants, &self.offers] {
            varint::put(out, service.as_ref().map_or(0, |service| u64::from(service.oldest)));
        }
        let start = out.len();
        varint::put(out, self.choice.len() as u64);
        for ServiceInfo { name, version, oldest } in &self.choice {
            put_str(out, name);
            varint::put(out, u64::from(*version));
            varint::put(out, u64::from(*oldest));
        }
        // So many that they have no place in a hello are not told of.
        if out.len().saturating_sub(start) > limits::HELLO_CHOICE {
            out.truncate(start);
            varint::put(out, 0);
        }
        varint::put(out, self.oneway_bytes);
        varint::put(out, self.extra_ids);
        varint::put(out, self.max_metadata);
        let metadata = self.metadata.as_ref().map_or(&[][..], MetadataSet::bytes);
        varint::put(out, metadata.len() as u64);
        out.extend_from_slice(metadata);
    }

    /// Reads a hello. Bytes after the known fields are a later version's and
    /// are passed over.
    pub(crate) fn decode(mut rest: &[u8]) -> Option<Hello> {
        let rest = &mut rest;
        let mut hello = Hello {
            protocol: varint::take(rest)?,
            codec: varint::take(rest)?,
            features: varint::take(rest)?,
            max_message: varint::take(rest)?,
            max_calls: varint::take(rest)?,
            max_call_bytes: varint::take(rest)?,
            wants: take_service(rest)?,
            offers: take_service(rest)?,
            ports: take_ports(rest)?,
            choice: Vec::new(),
            oneway_bytes: 0,
            extra_ids: 0,
            max_metadata: 0,
            metadata: None,
        };
        // One that ends here comes from a side that speaks one version of each.
        if !rest.is_empty() {
            hello.wants = take_oldest(rest, hello.wants)?;
            hello.offers = take_oldest(rest, hello.offers)?;
            hello.choice = take_choice(rest)?;
        }
        // One that ends here comes from a side that does not count one-way calls.
        if !rest.is_empty() {
            hello.oneway_bytes = varint::take(rest)?;
            hello.extra_ids = varint::take(rest)?;
        }
        // One that ends here comes from a side that accepts no metadata.
        if !rest.is_empty() {
            hello.max_metadata = varint::take(rest)?;
            hello.metadata = take_metadata(rest)?;
        }
        Some(hello)
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

/// Which of the services on offer speaks the newest version of what is `wanted`, and
/// which version that is; a refusal in words where none speaks any.
pub(crate) fn find_service(offers: &[ServiceInfo], wanted: &ServiceInfo) -> Result<(usize, u32), Refusal> {
    let refuse = |reason, message| Err(Refusal { reason, message });
    let common = offers.iter().map(|offered| offered.common(wanted)).enumerate();
    let best =
        common.filter_map(|(index, version)| Some((index, version?))).max_by_key(|&(_, version)| version);
    if let Some(best) = best {
        return Ok(best);
    }
    let others: Vec<_> = offers.iter().filter(|offered| offered.name == wanted.name).collect();
    if others.is_empty() {
        let offered: Vec<_> = offers.iter().map(ToString::to_string).collect();
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        return refuse(
            RefusalReason::Service,
            format!("the service {wanted} was asked for, but the side that was asked offers {offered}"),
        );
    }
    let offered: Vec<_> = others.iter().map(|other| other.versions()).collect();
    let advice = if others.iter().all(|other| other.oldest > wanted.version) {
        "the side that asks is the older one, update it"
    } else if others.iter().all(|other| other.version < wanted.oldest) {
        "the side that offers is the older one, update it"
    } else {
        "some of these are older and some are newer, offer what is between"
    };
    refuse(
        RefusalReason::ServiceVersion,
        format!(
            "the service {wanted} was asked for, but the side that was asked offers {}: {advice}",
            offered.join(" and ")
        ),
    )
}

/// A peer without ports ends its hello before them.
fn take_ports(rest: &mut &[u8]) -> Option<PortLimits> {
    if rest.is_empty() {
        return Some(PortLimits::default());
    }
    // More than a u32 counts is as good as no limit.
    let mut count = || Some(u32::try_from(varint::take(rest)?).unwrap_or(u32::MAX));
    let (ports, items) = (count()?, count()?);
    Some(PortLimits { ports, items, bytes: varint::take(rest)?, large: varint::take(rest)? })
}

/// The outer `None` is a malformed field, the inner one an absent service.
#[allow(clippy::option_option)]
fn take_service(rest: &mut &[u8]) -> Option<Option<ServiceInfo>> {
    let name = take_str(rest, limits::SERVICE_NAME)?.to_owned();
    let version = take_version(rest)?;
    Some(ServiceInfo::new(name, version).or_none())
}

/// Reads the oldest version of a service that is known by its newest.
#[allow(clippy::option_option)]
fn take_oldest(rest: &mut &[u8], service: Option<ServiceInfo>) -> Option<Option<ServiceInfo>> {
    let oldest = take_version(rest)?;
    match service {
        Some(service) => (oldest <= service.version).then(|| Some(service.with_oldest(oldest))),
        None => Some(None),
    }
}

/// The outer `None` is a malformed field, the inner one no metadata.
#[allow(clippy::option_option)]
fn take_metadata(rest: &mut &[u8]) -> Option<Option<MetadataSet>> {
    let len = usize::try_from(varint::take(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    // A hello is short: all of it is kept until this side's limit is asked for.
    let metadata = MetadataSet::read(bytes, limits::HELLO)?;
    Some((!bytes.is_empty()).then_some(metadata))
}

/// Each takes some of the hello's bytes: there are no more than have come.
fn take_choice(rest: &mut &[u8]) -> Option<Vec<ServiceInfo>> {
    let count = varint::take(rest)?;
    let mut choice = Vec::new();
    for _ in 0..count {
        let service = take_service(rest)?;
        choice.push(take_oldest(rest, service)??);
    }
    Some(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(wants: Option<(&'static str, u32)>, offers: Option<(&'static str, u32)>) -> Hello {
        let info = |(name, version)| ServiceInfo::new(name, version);
        Hello::new(Codec::default(), &Limits::default(), wants.map(info), offers.map(info))
    }

    /// Metadata of one value.
    fn metadata() -> MetadataSet {
        MetadataSet::read(b"\x04name\x01\x37", 100).unwrap()
    }

    /// How many bytes of a hello with the default limits stand behind the ranges of versions.
    const BEHIND_RANGES: usize = 4 + 2 + 3;

    fn varint_len(value: u64) -> usize {
        let mut out = Vec::new();
        varint::put(&mut out, value);
        out.len()
    }

    #[test]
    fn a_hello_reads_back_as_written_and_bytes_of_a_later_version_are_passed_over() {
        let hello = Hello { metadata: Some(metadata()), ..hello(Some(("Store", 3)), None) };
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        bytes.extend_from_slice(b"later");
        assert_eq!(Hello::decode(&bytes), Some(hello));
    }

    #[test]
    fn every_cut_of_a_hello_is_malformed_but_where_an_older_one_ends() {
        let mut bytes = Vec::new();
        let hello = Hello {
            wants: Some(ServiceInfo::new("Store", 300).with_oldest(200)),
            offers: Some(ServiceInfo::new("Host", 2).with_oldest(1)),
            choice: vec![ServiceInfo::new("Log", 2), ServiceInfo::new("Clock", 9).with_oldest(3)],
            metadata: Some(metadata()),
            ..hello(None, None)
        };
        hello.encode(&mut bytes);
        let whole = bytes.len();
        let without_metadata = Hello { max_metadata: 0, metadata: None, ..hello.clone() };
        let without_oneways = Hello { oneway_bytes: 0, extra_ids: 0, ..without_metadata.clone() };
        let exact = |service: &Option<ServiceInfo>| {
            service.as_ref().map(|service| ServiceInfo::new(service.name.clone(), service.version))
        };
        let without_ranges = Hello {
            wants: exact(&hello.wants),
            offers: exact(&hello.offers),
            choice: Vec::new(),
            ..without_oneways.clone()
        };
        let without_ports = Hello { ports: PortLimits::default(), ..without_ranges.clone() };
        // Two bytes and one for the oldest versions, and the choice behind them, its
        // length and two services; before them the limits of ports.
        let metadata_at = whole - varint_len(hello.max_metadata) - 1 - metadata().bytes().len();
        let oneways_at = metadata_at - varint_len(hello.oneway_bytes) - varint_len(hello.extra_ids);
        let ranges_at = oneways_at - 3 - 1 - 6 - 8;
        let ports_at = ranges_at - 11;
        for cut in 0..=whole {
            let expected = match cut {
                _ if cut == whole => Some(&hello),
                _ if cut == metadata_at => Some(&without_metadata),
                _ if cut == oneways_at => Some(&without_oneways),
                _ if cut == ranges_at => Some(&without_ranges),
                _ if cut == ports_at => Some(&without_ports),
                _ => None,
            };
            assert_eq!(Hello::decode(&bytes[..cut]).as_ref(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_choice_that_is_too_long_for_a_hello_is_not_told() {
        let service = |index: usize| ServiceInfo::new(format!("{}{index}", "s".repeat(2000)), 1);
        let told = |count: usize| {
            let mut bytes = Vec::new();
            Hello { choice: (0..count).map(service).collect(), ..hello(None, None) }.encode(&mut bytes);
            assert!(bytes.len() < limits::HELLO);
            Hello::decode(&bytes).unwrap().choice.len()
        };
        assert_eq!([0, 2, 3, 100].map(told), [0, 2, 0, 0]);
    }

    #[test]
    fn metadata_that_cannot_be_read_make_a_hello_malformed() {
        let mut bytes = Vec::new();
        hello(None, None).encode(&mut bytes);
        assert_eq!(bytes.pop(), Some(0));
        let read = |metadata: &[u8]| Hello::decode(&[&bytes[..], metadata].concat());
        assert!(read(b"\x07\x04name\x01\x37").unwrap().metadata == Some(metadata()));
        assert!(read(&[]).is_none() && read(&[0]).unwrap().metadata.is_none());
        for wrong in
            [&b"\x06\x04name\x01\x37"[..], b"\x08\x04name\x01\x37", b"\x07\x04name\x02\x37", b"\x02\x01\xff"]
        {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn the_longest_hello_is_within_its_limit() {
        let name = "s".repeat(limits::SERVICE_NAME);
        let service = || Some(ServiceInfo::new(name.clone(), u32::MAX));
        let metadata = [&b"\x04name"[..], &[0xf9, 0x0b], &[b' '; limits::CONNECTION_METADATA - 7]].concat();
        let metadata = MetadataSet::read(&metadata, limits::CONNECTION_METADATA).unwrap();
        assert_eq!(metadata.bytes().len(), limits::CONNECTION_METADATA);
        let longest = Limits { max_message: usize::MAX, max_calls: u32::MAX, ..Limits::default() };
        // A side that offers one service has no choice to tell.
        let one =
            Hello { choice: Vec::new(), ..Hello::new(Codec::default(), &longest, service(), service()) };
        let choice = vec![ServiceInfo::new("s".repeat(limits::HELLO_CHOICE - 13), u32::MAX)];
        let many = Hello { choice, ..Hello::new(Codec::default(), &longest, service(), None) };
        for hello in [one, many] {
            let mut bytes = Vec::new();
            Hello { metadata: Some(metadata.clone()), ..hello }.encode(&mut bytes);
            // The frame's kind, port and id stand before it.
            assert!(bytes.len() + 3 <= limits::HELLO, "{}", bytes.len());
        }
    }

    #[test]
    fn a_range_that_is_reversed_is_malformed() {
        let mut bytes = Vec::new();
        hello(Some(("Store", 3)), None).encode(&mut bytes);
        let oldest = bytes.len() - 3 - BEHIND_RANGES;
        assert_eq!(bytes[oldest], 3);
        bytes[oldest] = 4;
        assert_eq!(Hello::decode(&bytes), None);
        bytes[oldest] = 0;
        assert_eq!(Hello::decode(&bytes).unwrap().wants, Some(ServiceInfo::new("Store", 3).with_oldest(0)));
    }

    #[test]
    fn the_newest_version_that_both_speak_is_the_one() {
        let store = |oldest, newest| ServiceInfo::new("Store", newest).with_oldest(oldest);
        for (one, other, common) in [
            (store(3, 4), store(3, 3), Some(3)),
            (store(3, 4), store(3, 4), Some(4)),
            (store(3, 4), store(4, 9), Some(4)),
            (store(1, 9), store(4, 5), Some(5)),
            (store(3, 4), store(5, 6), None),
            (store(3, 4), ServiceInfo::new("Cart", 4), None),
        ] {
            assert_eq!((one.common(&other), other.common(&one)), (common, common), "{one} and {other}");
        }
        // Of several of one name it is the best, whatever their order.
        let offers = [store(2, 3), store(4, 5), store(1, 1), ServiceInfo::new("Cart", 9)];
        assert_eq!(find_service(&offers, &store(1, 4)), Ok((1, 4)));
        assert_eq!(find_service(&offers, &store(1, 3)), Ok((0, 3)));
        assert_eq!(find_service(&offers, &store(1, 1)), Ok((2, 1)));
        assert_eq!(find_service(&offers, &store(5, 8)), Ok((1, 5)));
        assert_eq!(store(3, 4).to_string(), "Store versions 3 to 4");
        assert_eq!(store(7, 4), store(4, 4));
    }

    #[test]
    fn without_a_common_version_both_ranges_are_named_and_which_side_is_older() {
        let store = |oldest, newest| ServiceInfo::new("Store", newest).with_oldest(oldest);
        let words = |offers: &[ServiceInfo], wanted| {
            let refusal = find_service(offers, &wanted).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
            refusal.message
        };
        assert_eq!(
            words(&[store(5, 6)], store(3, 4)),
            "the service Store versions 3 to 4 was asked for, but the side that was asked offers versions 5 to 6: \
             the side that asks is the older one, update it"
        );
        assert_eq!(
            words(&[store(1, 1), store(2, 3)], store(4, 4)),
            "the service Store version 4 was asked for, but the side that was asked offers version 1 and versions 2 to 3: \
             the side that offers is the older one, update it"
        );
        let between = words(&[store(1, 1), store(5, 5)], store(3, 3));
        assert!(!between.contains("older one") && between.contains("between"), "{between}");
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let info = |name, version| ServiceInfo::new(name, version);
        let offers = [info("Cart", 1), info("Store", 2)];
        assert_eq!(find_service(&offers, &info("Store", 2)), Ok((1, 2)));
        let refusal = find_service(&offers, &info("Stoer", 2)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Service);
        assert!(refusal.message.contains("Stoer version 2") && refusal.message.contains("Store version 2"));
        assert!(find_service(&[], &info("Store", 1)).unwrap_err().message.contains("none"));
        let server = hello(None, Some(("Store", 2)));
        let old = Hello { protocol: 9, ..hello(None, None) };
        assert_eq!(server.check(&old).unwrap_err().reason, RefusalReason::ProtocolVersion);
        let odd = Hello { codec: 77, ..hello(None, None) };
        assert_eq!(server.check(&odd).unwrap_err().reason, RefusalReason::Codec);
    }
}
