//! The session as a state machine: calls and bytes go in, frames and wake-ups
//! come out. It does no I/O, reads no clock and runs no handler.

mod answering;
mod calling;
mod carrying;
mod ending;
mod receiving;
mod streaming;
#[cfg(test)]
mod tests;
mod waiters;

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use panpipe_transport::buffer::Outbox;
use panpipe_transport::{Hold, Latency, Peer, frame};

use super::blocking::Wants;
use super::calls::{Calls, Room};
use super::close::CloseReason;
use super::deadlines::{Deadlines, Due};
use super::encoded::EncodedMessage;
use super::handlers::{Handlers, ReplyTo, Stop};
use super::hello::{Hello, MAKES_BYPASS, PortLimits, ServiceInfo};
use super::load::Load;
use super::message::{Kind, ROOT_PORT, begin_message};
use super::on_demand::OnDemand;
use super::oneway_window::{self, SendWindow};
use super::parts::{Abort, Content, Incomplete, Opened, Outgoing, Turns};
use super::ports::{Attached, Port, Ports};
use super::scheduler::Scheduler;
use super::ways::{Turn, Ways};
use crate::codec::Codec;
use crate::error::CallError;
use crate::labels::Labels;
use crate::limits::{self, Limits};
use crate::metadata::{Metadata, MetadataError, MetadataSet};
use crate::service::{AnyService, Served};

pub(crate) use self::streaming::ItemError;
use self::waiters::Waiters;

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Connects: says hello first and chooses the codec.
    Dialer,
    /// Was connected to: answers the hello.
    Acceptor,
}

/// What a session is made with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) role: Role,
    pub(crate) codec: Codec,
    pub(crate) limits: Arc<Limits>,
    pub(crate) wants: Option<ServiceInfo>,
    /// Every service that the peer may ask for.
    pub(crate) offers: Arc<Vec<ServiceInfo>>,
    /// The calls of all peers together, if they are counted.
    pub(crate) load: Option<Arc<Load>>,
    /// How a pipe waits for bytes.
    pub(crate) latency: Latency,
    /// Whether there may be a bypass beside the pipe.
    pub(crate) can_have_bypass: bool,
    /// What the peer is told of this side for the connection.
    pub(crate) metadata: Option<MetadataSet>,
}

impl Config {
    /// The side that connects, with the defaults.
    pub(crate) fn dialer(wants: ServiceInfo) -> Self {
        Config { role: Role::Dialer, wants: wants.or_none(), ..Config::acceptor() }
    }

    /// The side that was connected to, with the defaults.
    pub(crate) fn acceptor() -> Self {
        let (codec, limits) = (Codec::default(), Arc::default());
        let (offers, latency) = (Arc::default(), Latency::default());
        Config {
            role: Role::Acceptor,
            codec,
            limits,
            wants: None,
            offers,
            load: None,
            latency,
            can_have_bypass: false,
            metadata: None,
        }
    }
}

impl Config {
    /// Adds a value to what the peer is told for the connection.
    pub(crate) fn add_metadata<M: Metadata>(&mut self, value: &M) {
        self.metadata = Some(MetadataSet::with(self.metadata.as_ref(), value));
    }

    /// The same, if what the peer is told can be sent.
    pub(crate) fn with_checked_metadata(self) -> Result<Self, MetadataError> {
        let metadata = MetadataSet::for_hello(self.metadata)?;
        Ok(Config { metadata, ..self })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No hello has passed.
    Quiet,
    /// Our hello is on its way, the answer is not here.
    Greeted,
    /// Both hellos have passed.
    Open,
    /// Nothing more is read; what is queued still goes out.
    Ending(Box<CloseReason>),
    Ended(Box<CloseReason>),
}

/// A call of the peer's that has been let in.
pub(crate) struct Incoming {
    /// Where the reply goes; nowhere for a one-way call.
    pub(crate) reply_to: Option<ReplyTo>,
    pub(crate) method: u64,
    pub(crate) deadline: Option<Instant>,
    /// Where the arguments stand in the frame.
    pub(crate) args: Range<u32>,
    /// The length of the frame.
    pub(crate) len: u32,
    /// What most calls do not have.
    pub(crate) extras: Option<Box<IncomingExtras>>,
}

/// What a call has that has labels, or to do with ports.
pub(crate) struct IncomingExtras {
    pub(crate) labels: Option<Arc<Labels>>,
    /// What is called, if it is not the root port's service.
    pub(crate) service: Option<Served>,
    /// The ports that the arguments carry.
    pub(crate) attached: Vec<Attached>,
}

impl Incoming {
    /// What it takes of the window, if it is one-way.
    pub(crate) fn oneway_cost(&self) -> u64 {
        oneway_window::cost(self.len as usize)
    }

    pub(crate) fn args<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.args.start as usize..self.args.end as usize]
    }
}

/// What a call is of, and what travels with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTarget<'a> {
    pub(crate) port: u64,
    pub(crate) method: u64,
    /// Its metadata stand behind the arguments in its message.
    pub(crate) labels: Option<&'a Labels>,
}

impl CallTarget<'_> {
    /// A call without labels.
    pub(crate) fn new(port: u64, method: u64) -> Self {
        CallTarget { port, method, labels: None }
    }
}

/// What a one-way call waits for that has been queued.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sending {
    /// The last part of the message with this number.
    Parts(u64),
    /// The writing of so many bytes of the outgoing stream.
    Bytes(u64),
}

/// The time that a call has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// Sent with the call.
    pub(crate) left: Duration,
    /// When the core ends the call, by the connection's clock; `None` where its caller does.
    pub(crate) at: Option<Instant>,
}

/// What is to be done once the core is no longer borrowed: it runs code of the
/// user's.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// Who is to be woken.
    pub(crate) wakes: Vec<Waker>,
    /// Wakers that nothing waits for any more. To drop one may drop a task, and all it holds.
    pub(crate) spent: Vec<Waker>,
    pub(crate) ports: Option<Box<PortAftermath>>,
}

/// What of it has to do with ports, and large messages.
#[derive(Default)]
pub(crate) struct PortAftermath {
    /// Services that nobody can call any more, to be dropped.
    pub(crate) services: Vec<Arc<dyn AnyService>>,
    /// Ports that are closed, to be dropped with the services and wakers that they hold.
    pub(crate) closed: Vec<Port>,
    /// Streams that have been opened, with their ports.
    pub(crate) opened: Opened,
    /// Blocks of large messages, to be dropped with what owns them.
    pub(crate) blocks: Vec<Bytes>,
}

impl Aftermath {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.spent.is_empty() && self.ports.is_none()
    }

    fn ports(&mut self) -> &mut PortAftermath {
        self.ports.get_or_insert_default()
    }
}

/// The service at this side's root port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    /// Its place among all that is on offer.
    pub(crate) index: u32,
    /// The version that the peer speaks.
    pub(crate) version: u32,
}

/// Compares small calls and replies, which are queued at once, with what streams and bulk send.
#[derive(Debug, Default)]
struct Floor {
    /// Where the outgoing stream would end if as many bytes of the one as of the other had
    /// been queued.
    even: u64,
    /// How many bytes streams and bulk may queue, however much waits to be sent.
    left: usize,
}

impl Floor {
    /// How many bytes streams and bulk may queue though there is no room; `end` is where the
    /// outgoing stream ends.
    fn left(&mut self, end: u64) -> usize {
        if end.saturating_sub(self.even) >= limits::FLOOR as u64 {
            *self = Floor { even: end, left: 2 * limits::FLOOR };
        }
        self.left
    }

    /// Streams or bulk have queued the last bytes before `end`.
    fn queued(&mut self, bytes: u64, end: u64) {
        // What they send is not held against what others send much later.
        self.even = self.even.saturating_add(2 * bytes).min(end + limits::FLOOR as u64);
        self.left = self.left.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

pub(crate) struct Core {
    role: Role,
    codec: Codec,
    /// What this side says of itself, until both hellos have passed.
    hello: Option<Box<Hello>>,
    limits: Arc<Limits>,
    phase: Phase,
    /// What the peer takes; the protocol's least until its hello is here.
    room: Room,
    max_message: usize,
    /// How many bytes of metadata the peer accepts with a call.
    peer_max_metadata: usize,
    /// What the peer has said of itself for the connection.
    peer_metadata: Option<MetadataSet>,
    /// Whether the peer takes traces with its calls.
    peer_traces: bool,
    /// Whether the peer accepts streams whose writer tells its own credit.
    peer_stream_credit: bool,
    /// Whether the peer tells, and is told, how many items of a stream were lost.
    peer_tells_lost: bool,
    /// By which way what is written goes.
    ways: Ways,
    outbox: Outbox,
    /// What goes out in parts, and what comes in parts.
    outgoing: OnDemand<Outgoing>,
    incomplete: Incomplete,
    /// Whose turn it is to send, of streams and of what goes out in parts.
    scheduler: OnDemand<Scheduler>,
    /// What keeps small calls and replies from holding up streams and bulk for ever.
    floor: Floor,
    /// Whether a stream's reader was woken since that was last asked.
    has_woken_reader: bool,
    /// Whether a part may go out once though it is the turn of streams that were woken.
    may_fill_in: bool,
    calls: OnDemand<Calls>,
    /// What the peer takes of one-way calls.
    oneway_window: SendWindow,
    /// Whether the peer counts the one-way calls that it sends.
    peer_counts_oneways: bool,
    handlers: Handlers,
    load: Option<Arc<Load>>,
    deadlines: Deadlines,
    waiters: OnDemand<Waiters>,
    aftermath: Aftermath,
    ports: OnDemand<Ports>,
    /// What the peer takes of ports: nothing until its hello is here.
    peer_ports: PortLimits,
    /// All that the peer may ask for, and which of it the root port is.
    offers: Arc<Vec<ServiceInfo>>,
    root: Option<Root>,
    /// What the peer offers at its root port.
    peer_offers: Option<Box<ServiceInfo>>,
    /// The version of it that this side calls, once that is known.
    version: Option<u32>,
    driver: Option<Waker>,
    /// True while the driver is at work and will see what is queued.
    driving: bool,
    /// What the driver's timer stands at.
    armed: Option<Instant>,
    /// The peer takes no new calls.
    peer_draining: bool,
    /// The peer has been told that no more calls come from here.
    has_answered: bool,
    /// This side takes no new calls and is to end.
    draining: bool,
    /// No more calls come from the peer, or it has had its time to say so.
    peer_is_done: bool,
    /// Nothing else is left than that it says so, in its time.
    awaits_goodbye: bool,
    closing: bool,
    /// Whether it has been logged that calls wait for the peer's limit.
    has_warned: bool,
    /// Whether the peer may call a service of this side's without being asked.
    is_called_back: bool,
    /// Whether a caller has had its reply since that was last asked.
    has_replied: bool,
    /// For how many more calls that are made alone it is still thought that others are made
    /// beside them.
    crowd: u8,
    /// Whether a caller has written a one-way message by itself since the driver ran last.
    has_written_ahead: bool,
    accepted: Accepted,
    /// Whether anything has come since it was last asked, and whether the connection
    /// ends since nothing has.
    heard: bool,
    idle: bool,
}

/// One-way calls and items whose futures were ready: their callers count on them.
#[derive(Debug, Default)]
struct Accepted {
    /// How many there have been.
    queued: u64,
    /// How many of them are known to be written.
    written: u64,
    /// A position in the outgoing stream, and how many there were when it ended there.
    mark: (u64, u64),
}

impl Core {
    pub(crate) fn new(config: Config) -> Self {
        let limits = Limits::at_least_the_protocols(config.limits);
        let offered = (config.offers.len() == 1).then(|| config.offers[0].clone());
        // Who calls it without asking for it speaks the newest version.
        let root = offered.as_ref().map(|only| Root { index: 0, version: only.version() });
        let mut hello = Hello::new(config.codec, &limits, config.wants, offered);
        hello.metadata = config.metadata;
        if config.role == Role::Dialer && root.is_none() {
            hello.choice = config.offers.to_vec();
        }
        let ways = match config.role {
            _ if !config.can_have_bypass => Ways::default(),
            Role::Dialer => Ways::able(),
            Role::Acceptor => {
                hello.features |= MAKES_BYPASS;
                Ways::offered()
            }
        };
        let is_called_back = config.role == Role::Dialer && !config.offers.is_empty();
        Core {
            role: config.role,
            codec: config.codec,
            hello: Some(Box::new(hello)),
            peer_ports: PortLimits::default(),
            ports: OnDemand::default(),
            offers: config.offers,
            root,
            peer_offers: None,
            version: None,
            limits,
            phase: Phase::Quiet,
            room: Room { calls: 1, bytes: usize::MAX, extra: 0 },
            max_message: limits::FIRST_MESSAGE,
            peer_max_metadata: 0,
            peer_metadata: None,
            peer_traces: false,
            peer_stream_credit: false,
            peer_tells_lost: false,
            ways,
            outbox: Outbox::default(),
            outgoing: OnDemand::default(),
            incomplete: Incomplete::default(),
            scheduler: OnDemand::default(),
            floor: Floor::default(),
            has_woken_reader: false,
            may_fill_in: true,
            calls: OnDemand::default(),
            oneway_window: SendWindow::FIRST,
            peer_counts_oneways: false,
            handlers: Handlers::default(),
            load: config.load,
            deadlines: Deadlines::default(),
            waiters: OnDemand::default(),
            aftermath: Aftermath::default(),
            driver: None,
            driving: false,
            armed: None,
            peer_draining: false,
            has_answered: false,
            draining: false,
            peer_is_done: false,
            awaits_goodbye: false,
            closing: false,
            has_warned: false,
            is_called_back,
            has_replied: false,
            crowd: 0,
            has_written_ahead: false,
            accepted: Accepted::default(),
            heard: false,
            idle: false,
        }
    }

    /// Starts the clock of the handshake: an acceptor's for the peer's hello, a dialer's for
    /// saying hello without a call. A dialer's also starts that for the peer's hello when it
    /// falls due: a call that has said hello before needs no timer of its own.
    pub(crate) fn begin(&mut self, now: Instant) {
        let timeout = self.limits.handshake_timeout;
        let (within, due) = match self.role {
            Role::Acceptor => (timeout, Due::Handshake),
            Role::Dialer => (limits::HELLO_DELAY.min(timeout), Due::Hello),
        };
        // A time past the end of the clock is all the time there is.
        if let Some(at) = now.checked_add(within) {
            self.deadlines.insert(at, due);
        }
    }

    // ---- bytes out ----

    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Adds the next part of a large message to what goes out, if it is time. Streams whose
    /// turn it is, and that were woken, have the turn of their tasks to come.
    #[inline]
    pub(crate) fn feed(&mut self) {
        if self.outgoing.seen().is_some_and(|outgoing| !outgoing.is_idle()) {
            self.feed_part();
        }
    }

    /// The same for who writes all that there is: the queue does not run empty for a stream
    /// that was woken.
    #[inline]
    pub(crate) fn feed_all(&mut self) {
        self.may_fill_in = true;
        self.feed();
    }

    /// Whether short messages go out between bulk: they are not to wait behind
    /// what the system holds of it.
    #[inline]
    pub(crate) fn is_bulk_passed(&self) -> bool {
        match self.bulk() {
            Some(outgoing) => outgoing.is_passed(),
            // A stream that rests says nothing of what else is large.
            None => self.ports.seen().is_some_and(|ports| ports.writing > 0 && ports.passed.is_now()),
        }
    }

    /// What goes out in parts, if anything does.
    #[inline]
    fn bulk(&self) -> Option<&Outgoing> {
        self.outgoing.seen().filter(|outgoing| !outgoing.is_idle())
    }

    /// How much of what is written the system is to hold.
    #[inline]
    pub(crate) fn hold(&self) -> Hold {
        match () {
            () if self.is_bulk_passed() => Hold::Little,
            // What the system holds, each stream has to wait for.
            () if self.bulk().is_some() && !self.has_flowing_streams() => Hold::Much,
            () => Hold::NotLittle,
        }
    }

    /// How much is written before it is time to look what has come in.
    #[inline]
    pub(crate) fn write_turn(&self) -> usize {
        match () {
            () if self.is_bulk_passed() => limits::SHORT_PART,
            // Credit for the streams may have come: bulk is not to take their turns meanwhile.
            () if self.bulk().is_some() && self.has_flowing_streams() => limits::SHARED_QUEUE,
            () => limits::WRITE_TURN,
        }
    }

    /// The ways that what is written can go by.
    #[inline]
    pub(crate) fn ways(&mut self) -> &mut Ways {
        &mut self.ways
    }

    /// By which way what waits to be written goes.
    pub(crate) fn turn(&mut self, on_bypass: bool) -> Turn {
        // What short messages pass goes out in short parts.
        let is_large = self.bulk().is_some_and(|outgoing| !outgoing.is_passed());
        self.ways.turn(is_large || self.outbox.pending_len() > limits::BYPASS_MOST, on_bypass)
    }

    /// Asks the peer for a bypass.
    pub(crate) fn ask_for_bypass(&mut self) {
        self.put_frame(Kind::Ask, 0, |_| ());
        self.ways.has_asked();
    }

    /// The peer is to do without a bypass.
    pub(crate) fn refuse_bypass(&mut self) {
        self.put_frame(Kind::Bypass, 0, |_| ());
        self.ways.give_up();
    }

    /// Whether tasks of streams were woken that cannot run while the driver reads: writers that
    /// wait for their turn, and readers, whose writers wait for credit.
    pub(crate) fn awaits_streams(&mut self) -> bool {
        std::mem::take(&mut self.has_woken_reader)
            || self.scheduler.seen().is_some_and(Scheduler::awaits_streams)
    }

    /// Whether streams have sent items lately, or wait to.
    #[inline]
    fn has_flowing_streams(&self) -> bool {
        self.scheduler.seen().is_some_and(Scheduler::has_streams)
    }

    /// Has streams wait for bulk no longer that is out, or given up.
    fn settle_bulk(&mut self) {
        if self.bulk().is_none() || !self.has_flowing_streams() {
            if let Some(scheduler) = self.scheduler.used() {
                scheduler.forget_bulk();
            }
        }
    }

    fn feed_part(&mut self) {
        // The frame of a part is a little longer than the part.
        let max_part = self.max_message.saturating_sub(16);
        let before = self.outbox.queued_total();
        let floor = self.floor.left(before);
        let fed = if self.has_flowing_streams() {
            let turns = Turns { scheduler: &mut self.scheduler, may_fill_in: &mut self.may_fill_in };
            self.outgoing.feed(&mut self.outbox, max_part, floor, Some(turns))
        } else {
            self.outgoing.feed(&mut self.outbox, max_part, floor, None)
        };
        self.drop_spent_blocks();
        let after = self.outbox.queued_total();
        self.floor.queued(after - before, after);
        self.settle_bulk();
        if let Some(ports) = self.ports.used() {
            // Bulk that takes turns with streams is none of the messages that pass them.
            ports.passed.around_words(before, after);
        }
        self.words_are_out();
        let Some((sent, opened)) = fed else { return };
        self.begin_streams(opened);
        match sent.kind {
            Kind::Call => self.calls.is_out(sent.id, self.outbox.queued_total()),
            Kind::Item => self.wake_writer(sent.port),
            Kind::Oneway => {
                self.wake_reply_waiters();
                self.answer_goodbye();
            }
            _ => self.wake_reply_waiters(),
        }
    }

    /// Hands over blocks of which nothing is left to be sent. What owns them may be the user's:
    /// they are dropped outside of the lock.
    fn drop_spent_blocks(&mut self) {
        let spent = self.outgoing.used().map(Outgoing::take_spent).unwrap_or_default();
        if !spent.is_empty() {
            self.aftermath.ports().blocks.extend(spent);
        }
    }

    /// Whether bulk is to wait for a moment: short messages go out between, and a caller that
    /// has just had its reply may have the next one to send.
    #[inline]
    pub(crate) fn spares_bulk(&mut self) -> bool {
        std::mem::take(&mut self.has_replied) && self.is_bulk_passed()
    }

    /// Whether anything waits to be sent.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.outbox.pending_len() > 0 || self.bulk().is_some()
    }

    /// Tells the peer that a call is not wanted any more.
    fn cancel(&mut self, id: u32) {
        let outbox = &mut self.outbox;
        let abort = self.outgoing.used().map(|outgoing| outgoing.abort_call(u64::from(id), outbox));
        self.drop_spent_blocks();
        match abort.unwrap_or(Abort::IsSent) {
            Abort::IsSent => self.put_frame(Kind::Cancel, u64::from(id), |_| ()),
            Abort::AfterIt => {}
            Abort::NeverSent => {
                // There will be no reply: the id is free, and so is what room it took.
                self.calls.land(u64::from(id));
                self.settle_bulk();
                self.words_are_out();
                self.after_write();
                self.calls_are_fewer();
            }
        }
    }

    /// Whether anybody waits for room.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.scheduler.has_waiting()
            || !self.waiters.reply.is_empty()
            || self.handlers.has_deferred()
            || self.calls.has_waiting()
    }

    /// Bytes have gone out: lets those in who waited for room.
    pub(crate) fn after_write(&mut self) {
        if self.outbox.written_total() >= self.accepted.mark.0 {
            self.accepted.written = self.accepted.written.max(self.accepted.mark.1);
            self.accepted.mark = (self.outbox.queued_total(), self.accepted.queued);
        }
        self.wake_stream_waiters();
        if !self.has_queue_room() {
            return;
        }
        while self.has_queue_room() {
            let Some((call, failure)) = self.handlers.take_deferred() else {
                break;
            };
            self.fail(call, failure);
        }
        self.wake_reply_waiters();
        self.give_oneway_credit();
        self.grant();
    }

    /// Whether less waits to be sent than may wait. Where it does not, no handler
    /// is to start: its reply would wait in memory too.
    #[inline]
    pub(crate) fn has_queue_room(&self) -> bool {
        self.has_room_for_calls() && !self.outgoing.seen().is_some_and(Outgoing::is_full)
    }

    /// The same for calls of this side, whose large arguments its own program has.
    #[inline]
    fn has_room_for_calls(&self) -> bool {
        // A part of a large message is passed, and not waited for. What streams and bulk send
        // stands behind what waits: that is less where they have something to send.
        let appended = self.outbox.appended_len();
        appended < self.limits.queued_bytes
            && (appended < limits::QUEUED_BESIDE || !(self.bulk().is_some() || self.has_flowing_streams()))
    }

    /// Whether a call that was just queued should be written by its caller:
    /// only when nothing else is on its way, else the driver writes them as one.
    #[inline]
    pub(crate) fn write_inline(&self, before: usize) -> bool {
        before == 0 && !self.driving && self.calls.alone()
    }

    /// Whether nothing waits that a one-way message goes out behind, but for this side's hello:
    /// the driver may have queued that on another thread, and not have written it yet.
    pub(crate) fn has_nothing_ahead(&self) -> bool {
        !self.has_unsent() || (self.outbox.written_total() == 0 && self.accepted_unsent() == 0)
    }

    /// Whether a one-way message that was just queued is to be written by its caller: where the
    /// connection was idle. Of many that are made before the driver runs, the first is, and
    /// the driver writes the others together.
    ///
    /// A driver that is at work on another thread does not count: the program may end before
    /// the driver has written the message.
    pub(crate) fn writes_ahead(&self, was_idle: bool, other_threads: bool) -> bool {
        was_idle && !self.has_written_ahead && (other_threads || !self.driving)
    }

    /// A one-way message was written by its caller. The driver runs when the caller waits, and
    /// the next message is written ahead again.
    pub(crate) fn has_written_ahead(&mut self) {
        self.has_written_ahead = true;
        self.wake_driver();
    }

    /// Notes a one-way call or an item whose caller counts on it.
    #[inline]
    fn accept(&mut self, was_idle: bool) {
        if was_idle {
            self.accepted.written = self.accepted.queued;
        }
        self.accepted.queued += 1;
    }

    /// How many one-way calls and items were accepted and are not known to be written. Where
    /// some of those that are written together have gone, they count too.
    pub(crate) fn accepted_unsent(&self) -> u64 {
        if self.has_unsent() { self.accepted.queued - self.accepted.written } else { 0 }
    }

    /// Whether the next that happens is that something `expected` comes, or the rest of a
    /// message: nothing waits to be sent, and nothing is under way here.
    pub(crate) fn is_to_come(&self, expected: bool) -> bool {
        let expected = expected || self.incomplete.has_any();
        expected && self.is_idle() && !self.has_unsent()
    }

    /// Whether it is the other side's turn: it has its answer, and may have as much bulk as
    /// is handed out between short messages.
    pub(crate) fn has_had_its_turn(&self) -> bool {
        self.is_idle() && (!self.has_unsent() || self.is_bulk_passed())
    }

    /// Whether nothing is under way here.
    fn is_idle(&self) -> bool {
        self.is_open() && self.handlers.active() == 0 && self.ports.writing == 0 && !self.closing
    }

    /// Whether calls wait for their replies.
    pub(crate) fn awaits_replies(&self) -> bool {
        self.calls.are_in_flight()
    }

    /// The same for a reply.
    #[inline]
    pub(crate) fn write_answer_inline(&self, before: usize) -> bool {
        before == 0 && !self.driving && self.handlers.active() == 0
    }

    /// Wakes all who wait for one thing.
    #[inline]
    fn wake_all(&mut self, of: impl FnOnce(&mut Waiters) -> &mut Vec<Waker>) {
        if let Some(waiters) = self.waiters.used() {
            self.aftermath.wakes.append(of(waiters));
        }
    }

    fn put_frame(&mut self, kind: Kind, id: u64, body: impl FnOnce(&mut Vec<u8>)) {
        self.put_own(kind, ROOT_PORT, id, body);
    }

    /// Queues a message of the session's own. Gives the frame's size.
    fn put_own(&mut self, kind: Kind, port: u64, id: u64, body: impl FnOnce(&mut Vec<u8>)) -> usize {
        let out = self.outbox.append();
        let start = out.len();
        let frame = begin_message(out, kind, port, id);
        body(out);
        frame::finish(out, frame, limits::LARGEST_MESSAGE).expect("what the session itself says is short");
        out.len() - start
    }

    /// Hands over closed ports, to be dropped outside of the lock.
    fn drop_closed_ports(&mut self) {
        let Some(closed) = self.ports.used().and_then(Ports::take_closed) else { return };
        self.aftermath.ports().closed.extend(closed);
    }

    // ---- time ----

    /// When `on_timeout` is to be called next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Ends what is due at `now`, by the connection's clock.
    pub(crate) fn on_timeout(&mut self, now: Instant, peer: &Peer) {
        while let Some(due) = self.deadlines.pop(now) {
            match due {
                Due::Call(key) => {
                    let call = self.calls.get_mut(key);
                    call.deadline = None;
                    if call.state.is_over() {
                        // Its reply came in time; nobody has looked yet.
                        continue;
                    }
                    let wakes = &mut self.aftermath.wakes;
                    if let Some(id) = self.calls.fail(key, CallError::DeadlineExceeded, wakes) {
                        self.cancel(id);
                    }
                    self.grant();
                }
                Due::Handler(id) => {
                    self.handlers.stop(u64::from(id), Stop::DeadlineExceeded, &mut self.aftermath.wakes)
                }
                Due::Hello => {
                    self.say_hello();
                    if let Some(at) = now.checked_add(self.limits.handshake_timeout) {
                        self.deadlines.insert(at, Due::Handshake);
                    }
                }
                Due::Handshake => self.no_hello(peer),
                Due::Idle => self.on_idle(now),
                Due::Goodbye => {
                    self.awaits_goodbye = false;
                    self.peer_is_done = true;
                }
            }
        }
    }

    // ---- the driver ----

    pub(crate) fn driver_starts(&mut self) {
        self.driving = true;
        self.may_fill_in = true;
        self.has_written_ahead = false;
    }

    /// Whether `waker` is the one by which the driver is woken.
    #[inline]
    pub(crate) fn is_drivers(&self, waker: &Waker) -> bool {
        self.driver.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    /// The driver has written what it could and goes to wait. No waker is given where it is
    /// [known](Self::is_drivers).
    pub(crate) fn driver_waits(&mut self, waker: &mut Option<Waker>, armed: Option<Instant>) {
        self.driving = false;
        self.has_written_ahead = false;
        self.armed = armed;
        remember(&mut self.driver, waker);
    }

    /// What the driver was to do has been done without it: it waits as before.
    pub(crate) fn driver_goes_on(&mut self) {
        self.driving = false;
    }

    /// What the driver, which goes to wait, waits for: it `reads`, or does not, and `waits`
    /// for others than the peer, or does not.
    pub(crate) fn wants(&self, reads: bool, waits: bool) -> Wants {
        let ends = self.draining || self.closing || self.is_over();
        let has_unsent = self.has_unsent();
        Wants {
            reads,
            is_just_read: reads && !waits && !has_unsent && !ends,
            has_unsent,
            goes_on: ends || waits || self.ports.serving > 0 || self.is_called_back,
        }
    }

    /// Has the driver be woken, if it waits and nobody has.
    pub(crate) fn keep_driver(&mut self, waker: &mut Option<Waker>) {
        if !self.driving && self.driver.is_none() {
            self.driver = waker.take();
        }
    }

    /// The driver's waker, if it waits and has not been woken.
    pub(crate) fn sleeping_driver(&self) -> Option<Waker> {
        self.driver.as_ref().filter(|_| !self.driving).cloned()
    }

    /// Sees to it that the driver runs, if it does not already.
    #[inline]
    pub(crate) fn wake_driver(&mut self) {
        if !self.driving && self.driver.is_some() {
            self.aftermath.wakes.extend(self.driver.take());
        }
    }

    /// Wakes the driver if its timer stands too late.
    pub(crate) fn check_timer(&mut self) {
        if let Some(next) = self.next_timeout() {
            if self.armed.is_none_or(|armed| next < armed) {
                self.wake_driver();
            }
        }
    }

    /// How many calls of the peer run at once that do not nest.
    pub(crate) fn max_calls(&self) -> u32 {
        self.limits.max_calls
    }

    /// How deep the values nest at most that the peer sends.
    pub(crate) fn max_depth(&self) -> u32 {
        self.limits.max_depth
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// What is to be done once the core is no longer borrowed.
    #[inline]
    pub(crate) fn aftermath(&mut self) -> &mut Aftermath {
        &mut self.aftermath
    }

    /// Which of the services on offer the root port is, once that is known.
    pub(crate) fn root(&self) -> Option<Root> {
        self.root
    }

    /// The version of the peer's service at its root port that this side calls, once
    /// that is known.
    pub(crate) fn version(&self) -> Option<u32> {
        self.version
    }

    /// What the peer has said of itself for the connection, once its hello is here.
    pub(crate) fn peer_metadata(&self) -> Option<&MetadataSet> {
        self.peer_metadata.as_ref()
    }

    /// What the peer offers at its root port, once its hello is here.
    pub(crate) fn peer_offers(&self) -> Option<&ServiceInfo> {
        self.peer_offers.as_deref()
    }

    /// What this side takes of ports.
    #[inline]
    fn own_ports(&self) -> PortLimits {
        PortLimits::from(&*self.limits)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether calls of this side are under way.
    pub(crate) fn has_calls_in_flight(&self) -> bool {
        self.calls.are_in_flight()
    }

    /// How many ports are open.
    pub(crate) fn open_ports(&self) -> usize {
        self.ports.open()
    }
}

/// Stores a caller's waker in `place`. The one that was there before is left in `waker`: it is
/// the caller's to drop, outside of the lock. Does nothing where no waker is given.
#[inline]
pub(super) fn remember(place: &mut Option<Waker>, waker: &mut Option<Waker>) {
    if is_another(place.as_ref(), waker) {
        std::mem::swap(place, waker);
    }
}

/// Adds a caller's waker to `wakers`, unless it is among them.
fn remember_one_more(wakers: &mut Vec<Waker>, waker: &mut Option<Waker>) {
    if wakers.iter().all(|known| is_another(Some(known), waker)) {
        wakers.extend(waker.take());
    }
}

#[inline]
fn is_another(known: Option<&Waker>, waker: &Option<Waker>) -> bool {
    waker.as_ref().is_some_and(|waker| known.is_none_or(|known| !known.will_wake(waker)))
}
