//! Shares the outgoing stream fairly among streams and bulk, by deficit round robin.
//!
//! A flow is one stream that is written, or one message that goes out in fragments. In each
//! round every backlogged flow may send [`QUANTUM`] bytes. A flow that used up its quantum
//! waits while others with some left are backlogged; a new round begins when none is. Small
//! calls and replies are no flow: they are queued at once.
//!
//! A stream's items are made by a task of its own, which has to be woken. The scheduler decides
//! which flow may append to the outgoing queue, and which is woken when there is room. While a
//! woken task has not run, the others go on only if the queue would run empty; what they send
//! then is charged to their later rounds. So a slow task neither loses its share nor stalls the
//! connection.

use std::collections::{BTreeMap, VecDeque};

use super::on_demand::Part;
use crate::limits::{IDLE_ROUNDS, QUANTUM};

/// The largest debt of a flow, in bytes: what it may have sent beyond its share.
const MAX_DEBT: i64 = 4 * QUANTUM as i64;

/// What shares the outgoing stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Flow {
    /// The stream that is written at this port.
    Stream(u64),
    /// The message that goes out in fragments under this number.
    Bulk(usize),
}

/// Whether a flow has something to send that it was not allowed to queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// Nothing is known to wait.
    Idle,
    /// It waits, and is to be woken.
    Waiting,
    /// It was woken, and has not come back.
    Woken,
}

#[derive(Debug)]
struct Account {
    /// How many bytes the flow may still send in this round; negative for a debt.
    deficit: i64,
    demand: Demand,
    /// For how many rounds the flow has neither sent nor waited.
    idle_rounds: u8,
}

impl Account {
    /// Whether others are to leave the next bytes to this flow.
    fn claims(&self) -> bool {
        self.demand != Demand::Idle && self.deficit > 0
    }
}

/// The flows of one direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    /// Flows that sent or waited in one of the last rounds.
    accounts: BTreeMap<Flow, Account>,
    /// The streams that wait, in the order in which they are to be woken.
    waiting: VecDeque<u64>,
    /// How many of the accounts are streams.
    streams: usize,
}

impl Part for Scheduler {
    fn unused() -> &'static Self {
        static UNUSED: Scheduler =
            Scheduler { accounts: BTreeMap::new(), waiting: VecDeque::new(), streams: 0 };
        &UNUSED
    }
}

impl Scheduler {
    /// Whether `flow` has the stream to itself.
    #[inline]
    pub(crate) fn is_alone(&self, flow: Flow) -> bool {
        match self.accounts.len() {
            0 => true,
            1 => self.accounts.contains_key(&flow),
            _ => false,
        }
    }

    /// Whether streams have sent items, or wait to, in one of the last rounds.
    #[inline]
    pub(crate) fn has_streams(&self) -> bool {
        self.streams > 0
    }

    /// Whether a stream waits to be woken.
    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it is the flow's turn to send. Begins a new round if every backlogged flow has
    /// had its turn.
    pub(crate) fn is_turn(&mut self, flow: Flow) -> bool {
        loop {
            if self.account(flow).deficit > 0 {
                return true;
            }
            if self.accounts.iter().any(|(other, account)| *other != flow && account.claims()) {
                return false;
            }
            self.begin_round();
        }
    }

    /// Whether a message that goes out in fragments has not had its turn in this round.
    pub(crate) fn is_turn_of_bulk(&self) -> bool {
        self.accounts.iter().any(|(flow, account)| matches!(flow, Flow::Bulk(_)) && account.claims())
    }

    /// Whether streams wait, or were woken and have not come back.
    #[inline]
    pub(crate) fn awaits_streams(&self) -> bool {
        self.has_streams()
            && self
                .accounts
                .iter()
                .any(|(flow, account)| matches!(flow, Flow::Stream(_)) && account.demand != Demand::Idle)
    }

    /// How many bytes the flow may still send in this round.
    pub(crate) fn left(&mut self, flow: Flow) -> usize {
        usize::try_from(self.account(flow).deficit).unwrap_or(0)
    }

    /// Charges bytes that the flow has queued.
    pub(crate) fn sent(&mut self, flow: Flow, bytes: usize) {
        let account = self.account(flow);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        account.deficit = account.deficit.saturating_sub(bytes).max(-MAX_DEBT);
        account.idle_rounds = 0;
    }

    /// A stream has an item that may not be queued now: it is woken in its turn.
    pub(crate) fn wait(&mut self, port: u64) {
        let account = self.account(Flow::Stream(port));
        account.idle_rounds = 0;
        if account.demand != Demand::Waiting {
            account.demand = Demand::Waiting;
            self.waiting.push_back(port);
        }
    }

    /// The message that goes out under this number is backlogged until it is [gone](Self::gone).
    pub(crate) fn backlog(&mut self, number: usize) {
        self.account(Flow::Bulk(number)).demand = Demand::Woken;
    }

    /// A stream that was woken has come back, or has nothing to send that could be queued now.
    /// One that waits still does: several tasks may write to it.
    #[inline]
    pub(crate) fn came(&mut self, port: u64) {
        if let Some(account) = self.accounts.get_mut(&Flow::Stream(port)) {
            if account.demand == Demand::Woken {
                account.demand = Demand::Idle;
            }
        }
    }

    /// Nothing goes out in fragments any more.
    pub(crate) fn forget_bulk(&mut self) {
        self.accounts.retain(|flow, _| matches!(flow, Flow::Stream(_)));
    }

    /// The flow has ended.
    pub(crate) fn gone(&mut self, flow: Flow) {
        if let Some(account) = self.accounts.remove(&flow) {
            if let Flow::Stream(port) = flow {
                self.streams -= 1;
                if account.demand == Demand::Waiting {
                    self.waiting.retain(|waiting| *waiting != port);
                }
            }
        }
    }

    /// Gives the next stream that is to be woken, for as long as there is `room` in the queue,
    /// which becomes less by what the stream may send.
    pub(crate) fn wake_next(&mut self, room: &mut usize) -> Option<u64> {
        if *room == 0 || self.waiting.is_empty() {
            return None;
        }
        loop {
            let in_turn = self.waiting.iter().position(|port| {
                self.accounts.get(&Flow::Stream(*port)).is_none_or(|account| account.deficit > 0)
            });
            match in_turn {
                Some(at) => {
                    let port = self.waiting.remove(at)?;
                    let account = self.account(Flow::Stream(port));
                    account.demand = Demand::Woken;
                    *room = room.saturating_sub(usize::try_from(account.deficit).unwrap_or(0));
                    return Some(port);
                }
                None if self.accounts.values().any(Account::claims) => return None,
                None => self.begin_round(),
            }
        }
    }

    /// The waiting stream that is next where the queue would run empty, whosever turn it is.
    pub(crate) fn wake_any(&mut self) -> Option<u64> {
        let port = self.waiting.pop_front()?;
        self.account(Flow::Stream(port)).demand = Demand::Woken;
        Some(port)
    }

    fn account(&mut self, flow: Flow) -> &mut Account {
        self.accounts.entry(flow).or_insert_with(|| {
            self.streams += usize::from(matches!(flow, Flow::Stream(_)));
            Account { deficit: QUANTUM as i64, demand: Demand::Idle, idle_rounds: 0 }
        })
    }

    fn begin_round(&mut self) {
        let streams = &mut self.streams;
        self.accounts.retain(|flow, account| {
            account.deficit = (account.deficit + QUANTUM as i64).min(QUANTUM as i64);
            if account.demand != Demand::Idle {
                return true;
            }
            account.idle_rounds = account.idle_rounds.saturating_add(1);
            let stays = account.idle_rounds < IDLE_ROUNDS;
            *streams -= usize::from(!stays && matches!(flow, Flow::Stream(_)));
            stays
        });
    }
}
