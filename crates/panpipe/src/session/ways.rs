//! By which way a connection goes: by its socket, or by the bypass beside it, two pipes.
//!
//! Short messages go by the bypass, with them bulk that they pass, which then goes out in
//! short parts; others go by the socket, each where it is quicker. A bypass is made for a
//! connection that has mostly short ones.

use std::io;

use panpipe_transport::{BypassWriter, Peer};

use super::State;
use super::message::{Kind, word};
use super::outlet::{Inlet, Outlet};
use crate::limits;

/// How far a connection has come to a second way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// There is one way, and will be no other.
    #[default]
    One,
    /// The peer may ask for another.
    Offered,
    /// The peer has asked.
    Owed,
    /// It has been made one, which it may not be able to take up.
    Made,
    /// This side could have another, if the peer makes one.
    Able,
    /// This side may ask for another, and will when it pays.
    Possible,
    /// It is to ask.
    Wanted,
    /// It has asked.
    Asked,
    Two,
}

/// What is to be done before something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes by the way by which all went before.
    Stays,
    /// The same, and the driver is to ask for another way.
    Asks,
    /// It goes by the other way.
    Switches,
}

/// Which ways there are, and which one pays.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    stage: Stage,
    /// How many short writes there were in a row, or before there are two ways that would have
    /// gone by the second.
    short: u16,
}

impl Ways {
    /// Of a side that makes another way when it is asked to.
    pub(super) fn offered() -> Self {
        Ways { stage: Stage::Offered, short: 0 }
    }

    /// Of a side that asks for another way when it pays, if the peer makes one.
    pub(super) fn able() -> Self {
        Ways { stage: Stage::Able, short: 0 }
    }

    /// The peer makes another way when it is asked to.
    pub(super) fn are_possible(&mut self) {
        if self.stage == Stage::Able {
            self.stage = Stage::Possible;
        }
    }

    /// There is one way, and will be no other.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::One;
    }

    /// Whether there is anything to choose, or will be.
    #[inline]
    pub(super) fn is_to_choose(&self) -> bool {
        matches!(self.stage, Stage::Possible | Stage::Two)
    }

    /// By which way something goes: much of it, or a short message, while others go by the
    /// bypass or do not.
    #[inline]
    pub(super) fn turn(&mut self, is_much: bool, on_bypass: bool) -> Turn {
        if is_much {
            // One takes as many short ones from it as go by the socket behind it.
            let before = if self.stage == Stage::Two { 0 } else { self.short };
            self.short = before.saturating_sub(limits::BYPASS_RETURNS);
            return if on_bypass { Turn::Switches } else { Turn::Stays };
        }
        if on_bypass {
            return Turn::Stays;
        }
        self.short = self.short.saturating_add(1);
        match self.stage {
            Stage::Two if self.short >= limits::BYPASS_RETURNS => Turn::Switches,
            Stage::Possible if self.short >= limits::BYPASS_PAYS => {
                self.stage = Stage::Wanted;
                Turn::Asks
            }
            _ => Turn::Stays,
        }
    }

    /// Whether this side is to ask for another way, or to make one.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Wanted | Stage::Owed)
    }

    /// Whether this side is to ask for another way.
    pub(super) fn is_to_ask(&self) -> bool {
        self.stage == Stage::Wanted
    }

    /// This side has asked.
    pub(super) fn has_asked(&mut self) {
        self.stage = Stage::Asked;
    }

    /// The peer asks. False: it was not told that it might.
    #[must_use]
    pub(super) fn is_asked(&mut self) -> bool {
        let offered = self.stage == Stage::Offered;
        if offered {
            self.stage = Stage::Owed;
        }
        offered
    }

    /// Whether the peer waits for another way.
    pub(super) fn is_owed(&self) -> bool {
        self.stage == Stage::Owed
    }

    /// Another way has been made. What is short goes by it once the peer does so too.
    pub(super) fn has_made(&mut self) {
        self.stage = Stage::Made;
    }

    /// The peer goes by the other way.
    pub(super) fn is_followed(&mut self) {
        if self.stage == Stage::Made {
            self.are_two();
        }
    }

    /// Whether this side waits for another way.
    pub(super) fn is_expected(&self) -> bool {
        self.stage == Stage::Asked
    }

    /// There are two ways now. What is short goes by the second at once: that is why it was
    /// made.
    pub(super) fn are_two(&mut self) {
        *self = Ways { stage: Stage::Two, short: limits::BYPASS_RETURNS };
    }
}

impl State {
    /// To be done before something is written: chooses the way that it goes by.
    #[inline]
    pub(super) fn choose_way(&mut self) {
        if self.core.ways().is_to_choose() && self.core.has_unsent() {
            self.choose_of_two_ways();
        }
    }

    fn choose_of_two_ways(&mut self) {
        let State { core, outlet, .. } = self;
        // The driver has it, and chooses when it gives it back.
        if matches!(outlet, Outlet::Away) {
            return;
        }
        match core.turn(outlet.is_on_bypass()) {
            Turn::Stays => {}
            Turn::Asks => core.wake_driver(),
            Turn::Switches => {
                if core.outbox().is_at_start() {
                    // Where it cannot be said now it goes on as before.
                    let _ = outlet.switch(&word(Kind::Switch));
                }
            }
        }
    }

    /// What is written can go by the bypass from here on.
    pub(super) fn take_up(&mut self, bypass: BypassWriter) {
        if self.outlet.take_up(bypass) {
            self.core.ways().are_two();
        }
    }

    /// Asks for a bypass or makes one, where it is time: the driver has to be at work.
    #[cold]
    pub(super) fn tend_bypass(&mut self, inlet: &mut Inlet, peer: &Peer) {
        let State { core, outlet, .. } = self;
        if !core.is_open() || matches!(outlet, Outlet::Away) {
            return;
        }
        if core.ways().is_to_ask() {
            if inlet.expects_bypass(peer) {
                core.ask_for_bypass();
            } else {
                core.ways().give_up();
            }
        }
        if core.ways().is_owed() && core.outbox().pending_len() == 0 {
            match inlet.pass_bypass(outlet, &word(Kind::Bypass), peer) {
                Ok(()) => core.ways().has_made(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => core.refuse_bypass(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(ways: &mut Ways, on_bypass: bool) -> Turn {
        ways.turn(false, on_bypass)
    }

    #[test]
    fn another_way_is_asked_for_once_and_when_messages_are_short() {
        let mut ways = Ways::able();
        assert!(!ways.is_to_choose());
        ways.are_possible();
        for _ in 1..limits::BYPASS_PAYS {
            assert_eq!(short(&mut ways, false), Turn::Stays);
        }
        assert_eq!(ways.turn(true, false), Turn::Stays);
        for _ in 0..limits::BYPASS_RETURNS {
            assert_eq!(short(&mut ways, false), Turn::Stays);
        }
        assert!(!ways.is_to_ask());
        assert_eq!(short(&mut ways, false), Turn::Asks);
        assert!(ways.is_to_ask() && !ways.is_expected() && !ways.is_to_choose());
        ways.has_asked();
        assert!(!ways.is_to_ask() && ways.is_expected());
        assert!(!ways.is_asked(), "the peer has not been offered any");
    }

    #[test]
    fn who_is_asked_owes_another_way_once() {
        let mut ways = Ways::offered();
        ways.are_possible();
        assert!(!ways.is_to_choose() && !ways.is_owed());
        assert!(ways.is_asked() && ways.is_owed());
        assert!(!ways.is_asked());
        ways.has_made();
        assert!(!ways.is_owed() && !ways.is_asked() && !ways.is_to_choose());
        // The peer has it.
        ways.is_followed();
        assert_eq!(short(&mut ways, false), Turn::Switches);
        assert_eq!(ways.turn(true, true), Turn::Switches);
        // It goes by it again, which is no news.
        ways.is_followed();
        assert_eq!(short(&mut ways, false), Turn::Stays);
        assert!(!Ways::default().is_asked());
    }

    #[test]
    fn much_goes_by_the_socket_and_what_is_short_by_the_bypass() {
        let mut ways = Ways::offered();
        ways.are_two();
        assert_eq!(short(&mut ways, false), Turn::Switches);
        assert_eq!(short(&mut ways, true), Turn::Stays);
        assert_eq!(ways.turn(true, true), Turn::Switches);
        assert_eq!(ways.turn(true, false), Turn::Stays);
        // Not for the few that come between two large ones.
        for _ in 1..limits::BYPASS_RETURNS {
            assert_eq!(short(&mut ways, false), Turn::Stays);
        }
        assert_eq!(short(&mut ways, false), Turn::Switches);
    }
}
