//! What is counted where the feature `metrics` is on: by the `metrics` facade, so that
//! it goes to whatever recorder the program has installed.
//!
//! | name | what | labels |
//! |---|---|---|
//! | [`CALLS_BEGUN`] | counter: calls that have begun | `side`, `method` |
//! | [`CALLS_ENDED`] | counter: calls that are over | `side`, `method`, `outcome` |
//! | [`CALL_SECONDS`] | histogram: how long a call took, in seconds | `side`, `method`, `outcome` |
//! | [`CONNECTIONS_OPEN`] | gauge: connections that stand | `side` |
//! | [`CONNECTIONS_REFUSED`] | counter: connections that were turned down | `side`, `reason` |
//!
//! - `side` is `client` or `server`: of a call, whether it was made or answered here; of
//!   a connection, whether this process connected or was connected to.
//! - `method` is the full name, `Store.get`.
//! - `outcome` is `value`, `error` (of the method's own) or `done` (of a one-way call);
//!   or how the call failed, by the names of [`CallError`](crate::CallError) in
//!   `snake_case`. A call whose future was dropped is `cancelled`.
//! - `reason` is a [`RefusalReason`] in `snake_case`.
//!
//! A call of a method that there is not is counted by its caller alone.

use std::time::Instant;

use crate::clock;
use crate::error::RefusalReason;
use crate::session::Role;
use crate::watch::Side;

/// How many calls have begun.
pub const CALLS_BEGUN: &str = "panpipe.calls.begun";
/// How many calls are over.
pub const CALLS_ENDED: &str = "panpipe.calls.ended";
/// How long calls took, in seconds.
pub const CALL_SECONDS: &str = "panpipe.call.seconds";
/// How many connections stand.
pub const CONNECTIONS_OPEN: &str = "panpipe.connections.open";
/// How many connections were turned down.
pub const CONNECTIONS_REFUSED: &str = "panpipe.connections.refused";

/// The counters of one call.
pub(crate) struct Meter {
    side: &'static str,
    method: &'static str,
    start: Instant,
}

impl Meter {
    pub(crate) fn begin(side: Side, method: &'static str) -> Self {
        let side = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        ::metrics::counter!(CALLS_BEGUN, "side" => side, "method" => method).increment(1);
        Meter { side, method, start: clock::system() }
    }

    pub(crate) fn end(&self, outcome: &'static str) {
        let Meter { side, method, start } = *self;
        let labels = [("side", side), ("method", method), ("outcome", outcome)];
        ::metrics::counter!(CALLS_ENDED, &labels).increment(1);
        ::metrics::histogram!(CALL_SECONDS, &labels).record(clock::system() - start);
    }
}

/// A connection that counts as open until this is dropped.
pub(crate) struct OpenConnection {
    role: Role,
}

impl OpenConnection {
    pub(crate) fn of(role: Role) -> Self {
        ::metrics::gauge!(CONNECTIONS_OPEN, "side" => side_of(role)).increment(1);
        OpenConnection { role }
    }

    /// It was turned down, by this side or the other.
    pub(crate) fn refused(&self, reason: RefusalReason) {
        count_refused(self.role, reason);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        ::metrics::gauge!(CONNECTIONS_OPEN, "side" => side_of(self.role)).decrement(1);
    }
}

/// A connection was turned down; also for one that never had a session.
pub(crate) fn count_refused(role: Role, reason: RefusalReason) {
    let reason = match reason {
        RefusalReason::NotPanpipe => "not_panpipe",
        RefusalReason::ProtocolVersion => "protocol_version",
        RefusalReason::Codec => "codec",
        RefusalReason::Service => "service",
        RefusalReason::ServiceVersion => "service_version",
        RefusalReason::NotAllowed => "not_allowed",
        RefusalReason::Overloaded => "overloaded",
        RefusalReason::Draining => "draining",
        RefusalReason::Layer => "layer",
        RefusalReason::TooManyPorts => "too_many_ports",
    };
    ::metrics::counter!(CONNECTIONS_REFUSED, "side" => side_of(role), "reason" => reason).increment(1);
}

fn side_of(role: Role) -> &'static str {
    match role {
        Role::Dialer => "client",
        Role::Acceptor => "server",
    }
}
