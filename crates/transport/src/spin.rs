//! Waiting a moment for bytes that are about to come, before the thread sleeps:
//! waking a thread that sleeps costs more than most calls.
//!
//! The wait blocks nobody. The reading task yields to the runtime, which runs what else
//! there is, looks at its events, and polls the task again. Then it looks for itself.
//!
//! A runtime of many threads wakes another one for each task that has itself polled
//! again, which costs more than it saves. There who waits stays on its thread for a
//! shorter moment; the others take over what else there is.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::latency::Latency;
use crate::limits::{
    SPIN_CROWD, SPIN_CROWDED, SPIN_HELD_UP, SPIN_LOOKS, SPIN_MISSES, SPIN_OVERRUN, SPIN_SKIPS,
    SPIN_SKIPS_LEAST, SPIN_UNTOLD,
};
use crate::sys;

thread_local! {
    static HERE: Cell<Here> = const {
        Cell::new(Here { spinner: None, others: 0, crowded: None, overruns: 0, calm: 0 })
    };
}

/// The spinning on one thread.
#[derive(Debug, Clone, Copy)]
struct Here {
    /// Who spins, and until when at most.
    spinner: Option<(u32, Instant)>,
    /// How many waits of others began meanwhile: where there are many the thread
    /// does not sleep anyway.
    others: u32,
    /// Until when nobody begins to spin, because there were too many.
    crowded: Option<Instant>,
    /// How often of late others took the processor for long from who gave way here, and how
    /// often they have not since.
    overruns: u16,
    calm: u16,
}

impl Here {
    fn is_crowded(&self, now: Instant) -> bool {
        self.crowded.is_some_and(|until| now < until)
    }

    /// Whether `id` may begin to spin.
    fn has_room(&mut self, id: u32, now: Instant) -> bool {
        if self.is_crowded(now) {
            return false;
        }
        let Some((spinner, until)) = self.spinner else { return true };
        if spinner == id || now >= until {
            return true;
        }
        self.others += 1;
        if self.others > SPIN_CROWD {
            *self = Here { spinner: None, others: 0, crowded: now.checked_add(SPIN_CROWDED), ..*self };
        }
        false
    }

    /// Who gave way has the processor again. For how many times it is not to do that, if
    /// others took that for long: for more and more, whichever connections of the thread it
    /// happens to.
    fn others_ran(time: Duration) -> Option<u16> {
        let mut here = HERE.get();
        if time <= SPIN_OVERRUN {
            if here.overruns > 0 {
                here.calm += 1;
                if here.calm == SPIN_SKIPS {
                    (here.overruns, here.calm) = (0, 0);
                }
                HERE.set(here);
            }
            return None;
        }
        // Sixteen times as often each further time: the third is at the most.
        let skip = rising(SPIN_SKIPS_LEAST, 4 * here.overruns);
        (here.overruns, here.calm) = ((here.overruns + 1).min(2), 0);
        HERE.set(here);
        Some(skip)
    }
}

/// What a connection does while it waits awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Looks again and again: the other side runs on another processor.
    Looking,
    /// Lets the others run that share the processor, and looks then.
    Yielding,
    /// Is not polled again, but looks as long as it is asked to; not at all where the other
    /// side shares the processor.
    Staying { looks: bool },
}

/// The connection that bytes have last come on, of those that stay on their threads.
static LAST: AtomicU32 = AtomicU32::new(u32::MAX);

/// Whether the process has the time of one processor: there is none to spare.
fn is_rationed() -> bool {
    static RATIONED: OnceLock<bool> = OnceLock::new();
    *RATIONED.get_or_init(|| available_parallelism().map_or(1, usize::from) == 1)
}

/// How a connection waits awake that is made here and now, if it does.
fn way() -> Option<Way> {
    let runtime = Handle::try_current().ok()?;
    let is_many = !matches!(runtime.runtime_flavor(), RuntimeFlavor::CurrentThread);
    if is_many && !sys::ReadHalf::LOOKS {
        return None;
    }
    // A thread may be bound to one processor that others of the process are not.
    let gives_way = sys::ReadHalf::LOOKS && sys::is_single();
    if !gives_way && is_rationed() {
        return None;
    }
    Some(match (is_many, gives_way) {
        (true, gives_way) => Way::Staying { looks: !gives_way },
        (false, true) => Way::Yielding,
        (false, false) => Way::Looking,
    })
}

/// How far a connection has come with its spinning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spinning {
    Not,
    /// It spins, and gives up then.
    Until(Instant),
    /// It gave up then, and nothing has come since.
    GaveUp(Instant),
}

/// The spinning of one connection.
#[derive(Debug)]
pub(crate) struct Spin {
    id: u32,
    /// The clock; a test may put its own here, which stands.
    now: fn() -> Instant,
    time: Duration,
    way: Way,
    /// When it last had itself polled again.
    asked: Option<Instant>,
    spinning: Spinning,
    /// How often in a row nothing came in time.
    misses: u16,
    /// How many more times bytes have to come before it spins again.
    skip: u16,
    /// How often it had itself polled again while the event loop was not told to wake it.
    untold: u8,
    /// Whether bytes have come since it last spun: only then may more be near.
    fresh: bool,
    /// Whether bytes have come here twice in a row, and on no other connection between.
    in_a_row: bool,
}

impl Spin {
    pub(crate) fn new(latency: Latency) -> Self {
        match way() {
            Some(way) => Spin::with_time(latency.time(), way),
            None => Spin::with_time(Duration::ZERO, Way::Looking),
        }
    }

    /// The same for a thread that waits by itself.
    pub(crate) fn of_threads(latency: Latency) -> Self {
        let time = latency.time();
        let looks = sys::ReadHalf::LOOKS && !time.is_zero() && !sys::is_single() && !is_rationed();
        Spin::with_time(time, Way::Staying { looks })
    }

    fn with_time(time: Duration, way: Way) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (asked, spinning) = (None, Spinning::Not);
        Spin {
            id,
            now: Instant::now,
            time,
            way,
            asked,
            spinning,
            misses: 0,
            skip: 0,
            untold: 0,
            fresh: true,
            in_a_row: false,
        }
    }

    /// Bytes have come.
    #[inline]
    pub(crate) fn arrived(&mut self) {
        let spinning = std::mem::replace(&mut self.spinning, Spinning::Not);
        if let Spinning::GaveUp(then) = spinning {
            self.came_after((self.now)() - then);
        }
        self.fresh = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        if let Spinning::Until(_) = spinning {
            self.misses = 0;
            if !self.is_staying() {
                HERE.set(Here { spinner: None, others: 0, ..HERE.get() });
            }
        }
        if self.is_staying() {
            self.in_a_row = LAST.load(Ordering::Relaxed) == self.id;
            if !self.in_a_row {
                LAST.store(self.id, Ordering::Relaxed);
            }
        }
    }

    /// Whether who waits may look here and now.
    #[inline]
    pub(crate) fn is_staying(&self) -> bool {
        matches!(self.way, Way::Staying { .. }) && !self.time.is_zero()
    }

    /// Whether to look again, for `most` in all.
    pub(crate) fn stays(&mut self, most: Duration) -> bool {
        // Where bytes come on other connections too, those are not to wait.
        let is_last = self.in_a_row && LAST.load(Ordering::Relaxed) == self.id;
        if self.way != (Way::Staying { looks: true }) || !is_last {
            if let Spinning::Until(_) = self.spinning {
                self.spinning = Spinning::Not;
            }
            return false;
        }
        self.goes_on((self.now)(), most)
    }

    /// Nothing has come yet: has the task polled again soon, unless it is time to
    /// sleep.
    #[inline]
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) {
        if self.wants_to_wait() {
            // Ready at its second poll, which is the next one of this task. A task that
            // wakes itself would be polled before the runtime's main one.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }

    /// As [`wait`](Self::wait), for a reader that is not registered with the event loop. Returns
    /// whether the task is polled again; otherwise the caller must register the reader.
    pub(crate) fn wait_untold(&mut self, cx: &mut Context<'_>) -> bool {
        if self.untold == SPIN_UNTOLD || !self.wants_to_wait() {
            return false;
        }
        self.untold += 1;
        // A runtime drops its yielded wakers unused when it is left, for instance when a `LocalSet`
        // is moved out of it. No event wakes this task, so the waker wakes it when it is dropped.
        let waker = Arc::new(WakesAtLast(cx.waker().clone())).into();
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        true
    }

    /// Whether to be polled again, rather than to sleep.
    fn wants_to_wait(&mut self) -> bool {
        if self.time.is_zero() || self.is_staying() {
            return false;
        }
        let now = (self.now)();
        let goes_on = self.goes_on(now, self.time);
        if goes_on {
            self.asked = Some(now).filter(|_| sys::ReadHalf::LOOKS);
        }
        goes_on
    }

    /// How often to look whether bytes have come that the event loop has not told of.
    /// Where the other side shares the processor, it has been let run before.
    #[inline]
    pub(crate) fn looks(&mut self) -> u32 {
        match self.asked.take() {
            None => 0,
            Some(_) if self.way == Way::Looking => SPIN_LOOKS,
            Some(asked) => {
                sys::let_others_run();
                self.others_ran((self.now)() - asked);
                1
            }
        }
    }

    /// Whether it lets the other side run that shares the processor.
    #[inline]
    pub(crate) fn is_yielding(&self) -> bool {
        self.way == Way::Yielding
    }

    /// Whether it has asked to be polled again.
    #[inline]
    pub(crate) fn has_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Lets the others run that share the processor here and now, rather than when the task
    /// is polled again as it has asked for. False: it waits otherwise, or sleeps.
    pub(crate) fn gives_way(&mut self) -> bool {
        if self.way != Way::Yielding {
            return false;
        }
        let Some(asked) = self.asked.take() else { return false };
        sys::let_others_run();
        self.others_ran((self.now)() - asked);
        true
    }

    /// Where others have much to do, who sleeps is let run sooner than who gave way. That it
    /// was once says little: the other side may have had much to do with one message.
    fn others_ran(&mut self, time: Duration) {
        let Some(skip) = Here::others_ran(time) else { return };
        self.skip = skip;
        if let Spinning::Until(until) = self.spinning {
            self.spinning = until.checked_sub(self.time).map_or(Spinning::Not, Spinning::Until);
        }
    }

    /// Bytes that come as soon as the thread sleeps were held up by its spinning: the
    /// other process has no other processor to run on.
    fn came_after(&mut self, sleep: Duration) {
        if sleep < SPIN_HELD_UP && !self.is_staying() {
            self.skip = SPIN_SKIPS;
        }
    }

    fn goes_on(&mut self, now: Instant, most: Duration) -> bool {
        match self.spinning {
            Spinning::Until(until) if now < until && (self.is_staying() || !HERE.get().is_crowded(now)) => {
                true
            }
            Spinning::Until(until) => {
                if now < until {
                    self.spinning = Spinning::Not;
                    return false;
                }
                self.misses = self.misses.saturating_add(1);
                self.spinning = Spinning::GaveUp(now);
                let patience_over = self.misses.saturating_sub(SPIN_MISSES);
                if patience_over > 0 {
                    self.skip = rising(1, patience_over);
                }
                false
            }
            _ if !self.fresh => false,
            _ if self.is_staying() => {
                self.fresh = false;
                // A time past the end of the clock never comes to its end.
                self.spinning = now.checked_add(most.min(self.time)).map_or(Spinning::Not, Spinning::Until);
                true
            }
            _ => {
                let mut here = HERE.get();
                let begins = here.has_room(self.id, now);
                // A time past the end of the clock never comes to its end.
                if let Some(until) = now.checked_add(self.time).filter(|_| begins) {
                    self.spinning = Spinning::Until(until);
                    self.fresh = false;
                    (here.spinner, here.others) = (Some((self.id, until)), 0);
                }
                HERE.set(here);
                begins
            }
        }
    }
}

impl Drop for Spin {
    /// A connection that has ended is in no other's way.
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| {
            let Here { spinner, .. } = here.get();
            if spinner.is_some_and(|(id, _)| id == self.id) {
                here.set(Here { spinner: None, ..here.get() });
            }
        });
    }
}

/// A waker that wakes its task when it is dropped, which a runtime does after waking it too.
struct WakesAtLast(Waker);

impl Wake for WakesAtLast {
    fn wake(self: Arc<Self>) {}
}

impl Drop for WakesAtLast {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// How often to sleep at once: `least` times, and twice as often each further time.
fn rising(least: u16, times: u16) -> u16 {
    let often = u32::from(least) << times.min(u16::BITS as u16);
    often.min(SPIN_SKIPS.into()) as u16
}

#[cfg(test)]
impl Spin {
    /// How often it had itself polled again without a registration.
    pub(crate) fn untold(&self) -> u8 {
        self.untold
    }

    /// As on a single processor, with a clock that stands: however long the machine takes,
    /// neither the time to spin nor that of others passes.
    pub(crate) fn yielding() -> Self {
        fn stands() -> Instant {
            static AT: OnceLock<Instant> = OnceLock::new();
            *AT.get_or_init(Instant::now)
        }
        Spin { now: stands, ..Spin::with_time(Duration::from_secs(60), Way::Yielding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(100);

    #[test]
    fn it_spins_for_its_time_and_then_sleeps() {
        let (mut spin, start) = (Spin::with_time(TIME, Way::Looking), Instant::now());
        assert!(spin.goes_on(start, TIME) && spin.goes_on(start + TIME / 2, TIME));
        assert!(!spin.goes_on(start + TIME, TIME));
    }

    /// Bytes come, long after it has given up, until it spins; how often they came.
    fn comes_until_it_spins(spin: &mut Spin, now: Instant) -> u16 {
        let mut times = 0;
        while !spin.goes_on(now, TIME) {
            spin.spinning = Spinning::Not;
            spin.arrived();
            times += 1;
        }
        times
    }

    #[test]
    fn without_bytes_it_does_not_spin_again() {
        let (mut spin, now) = (Spin::with_time(TIME, Way::Looking), Instant::now());
        assert!(spin.goes_on(now, TIME) && !spin.goes_on(now + TIME, TIME));
        assert!(!spin.goes_on(now + TIME * 2, TIME) && !spin.goes_on(now + TIME * 3, TIME));
        assert_eq!(comes_until_it_spins(&mut spin, now), 1);
    }

    #[test]
    fn waiting_in_vain_is_given_up_for_longer_and_longer() {
        let (mut spin, mut now) = (Spin::with_time(TIME, Way::Looking), Instant::now());
        let mut slept_through = Vec::new();
        assert!(spin.goes_on(now, TIME));
        for _ in 0..30 {
            now += TIME;
            assert!(!spin.goes_on(now, TIME));
            slept_through.push(comes_until_it_spins(&mut spin, now) - 1);
        }
        assert!(slept_through[..SPIN_MISSES as usize].iter().all(|slept| *slept == 0), "{slept_through:?}");
        assert!(slept_through.is_sorted(), "{slept_through:?}");
        assert_eq!(slept_through.last(), Some(&SPIN_SKIPS));
        // Bytes in time, and all is as at first.
        spin.arrived();
        assert!(spin.goes_on(now, TIME) && !spin.goes_on(now + TIME, TIME));
        assert_eq!(comes_until_it_spins(&mut spin, now), 1);
    }

    #[test]
    fn one_connection_a_thread_spins_at_a_time() {
        let (mut one, mut other, now) =
            (Spin::with_time(TIME, Way::Looking), Spin::with_time(TIME, Way::Looking), Instant::now());
        assert!(one.goes_on(now, TIME) && !other.goes_on(now, TIME));
        one.arrived();
        assert!(other.goes_on(now, TIME) && !one.goes_on(now, TIME));
        // Who goes without a word holds nobody up for longer than its time.
        assert!(one.goes_on(now + TIME, TIME));
        // Nor does who has ended.
        let mut next = Spin::with_time(TIME, Way::Looking);
        assert!(!next.goes_on(now + TIME, TIME));
        drop(one);
        assert!(next.goes_on(now + TIME, TIME));
    }

    #[test]
    fn who_was_held_up_by_it_is_not_again() {
        let (mut spin, now) = (Spin::with_time(TIME, Way::Looking), Instant::now());
        assert!(spin.goes_on(now, TIME) && !spin.goes_on(now + TIME, TIME));
        spin.came_after(SPIN_HELD_UP);
        assert_eq!(comes_until_it_spins(&mut spin, now), 1);
        assert!(!spin.goes_on(now + TIME, TIME));
        spin.came_after(SPIN_HELD_UP / 2);
        assert_eq!(comes_until_it_spins(&mut spin, now), SPIN_SKIPS + 1);
    }

    #[test]
    fn who_gives_way_stops_where_others_have_much_to_do() {
        let now = Instant::now();
        let mut spin = Spin::with_time(TIME, Way::Yielding);
        assert!(spin.goes_on(now, TIME));
        spin.others_ran(SPIN_OVERRUN);
        assert!(spin.goes_on(now, TIME));
        let mut overrun = |calm: u16| {
            (0..calm).for_each(|_| spin.others_ran(SPIN_OVERRUN));
            spin.others_ran(SPIN_OVERRUN * 2);
            assert!(!spin.goes_on(now, TIME));
            let slept_through = comes_until_it_spins(&mut spin, now) - 1;
            // What comes in time counts, not what it has waited for in vain.
            spin.misses = 0;
            slept_through
        };
        // Once is little, and often is more and more.
        assert_eq!(
            [overrun(0), overrun(5), overrun(0)],
            [SPIN_SKIPS_LEAST, 16 * SPIN_SKIPS_LEAST, SPIN_SKIPS]
        );
        let most = (0..70).map(|_| overrun(1)).max();
        assert_eq!((most, overrun(SPIN_SKIPS - 1)), (Some(SPIN_SKIPS), SPIN_SKIPS));
        // It says the same of each connection of the thread.
        let mut other = Spin::with_time(TIME, Way::Yielding);
        other.others_ran(SPIN_OVERRUN * 2);
        assert_eq!(other.skip, SPIN_SKIPS);
        // Long after the last it is as at first.
        assert_eq!(overrun(SPIN_SKIPS), SPIN_SKIPS_LEAST);
    }

    #[test]
    fn it_looks_for_itself_only_when_it_has_been_polled_again() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (way, looks) in [(Way::Looking, SPIN_LOOKS), (Way::Yielding, 1)] {
            let mut spin = Spin::with_time(Duration::from_secs(60), way);
            assert_eq!(spin.looks(), 0);
            spin.wait(&mut cx);
            let wanted = if sys::ReadHalf::LOOKS { looks } else { 0 };
            assert_eq!((spin.looks(), spin.looks()), (wanted, 0));
            spin.arrived();
        }
        let mut asleep = Spin::new(Latency::Asleep);
        asleep.wait(&mut cx);
        assert_eq!((asleep.looks(), asleep.spinning), (0, Spinning::Not));
    }

    #[test]
    fn where_many_wait_nobody_spins_for_a_while() {
        let (mut one, now) = (Spin::with_time(TIME, Way::Looking), Instant::now());
        assert!(one.goes_on(now, TIME));
        for _ in 0..=SPIN_CROWD {
            assert!(one.goes_on(now, TIME) && !Spin::with_time(TIME, Way::Looking).goes_on(now, TIME));
        }
        assert!(!one.goes_on(now, TIME) && !Spin::with_time(TIME, Way::Looking).goes_on(now, TIME));
        one.arrived();
        assert!(one.goes_on(now + SPIN_CROWDED, TIME));
    }

    #[test]
    fn who_stays_looks_where_bytes_come_in_a_row_on_no_other_connection() {
        const STAYING: Way = Way::Staying { looks: true };
        let (mut one, mut other) = (Spin::with_time(TIME, STAYING), Spin::with_time(TIME, STAYING));
        assert!(!one.stays(TIME));
        // Those of other tests count too.
        while !one.stays(TIME) {
            one.arrived();
        }
        other.arrived();
        assert!(!one.stays(TIME));
        let mut shared = Spin::with_time(TIME, Way::Staying { looks: false });
        shared.arrived();
        shared.arrived();
        assert!(shared.is_staying() && !shared.stays(TIME));
        // It has itself polled by nobody.
        shared.wait(&mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(shared.looks(), 0);
        assert!(!Spin::with_time(Duration::ZERO, STAYING).is_staying());
    }

    #[test]
    fn a_thread_that_is_to_sleep_never_looks() {
        let mut asleep = Spin::of_threads(Latency::Asleep);
        asleep.arrived();
        asleep.arrived();
        assert!(!asleep.stays(TIME) && !asleep.is_staying());
    }

    #[test]
    fn it_gives_way_at_once_where_it_has_asked_to_and_the_processor_is_shared() {
        for (way, gives) in
            [(Way::Yielding, true), (Way::Looking, false), (Way::Staying { looks: true }, false)]
        {
            let mut spin = Spin::with_time(TIME, way);
            assert!(!spin.gives_way(), "it has not asked to be polled again");
            spin.asked = Some(Instant::now());
            assert_eq!(spin.gives_way(), gives, "{way:?}");
            // Once: the next time it is polled it only waits.
            assert!(!gives || (!spin.gives_way() && spin.looks() == 0));
        }
    }
}
