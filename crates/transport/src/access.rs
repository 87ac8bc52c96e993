//! Who may use a pipe.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::limits::NAMED_IN_DENIAL;
use crate::peer::Peer;
use crate::sys;

/// The users of a pipe: those that a server lets in, or whose server a client talks to.
///
/// ```
/// use panpipe_transport::Access;
///
/// const WHEEL: u32 = 10;
/// let operators = Access::gids([WHEEL]).or(Access::uids([1000, 1001]));
/// let people = Access::when(|peer| peer.uid.is_some_and(|uid| uid >= 1000));
/// # let _ = (operators, people);
/// ```
#[derive(Clone)]
pub struct Access {
    rules: Arc<[Rule]>,
}

#[derive(Clone)]
enum Rule {
    SameUser,
    Uids(Arc<[u32]>),
    Gids(Arc<[u32]>),
    Anyone,
    When(Arc<dyn Fn(&Peer) -> bool + Send + Sync>),
    WhenAsync(Arc<dyn Fn(Peer) -> Decision + Send + Sync>),
}

type Decision = Pin<Box<dyn Future<Output = bool> + Send>>;

/// How far the door must stand open, before anybody is asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// For the process's own user.
    Owner,
    /// For one group besides.
    Group(u32),
    /// For whoever comes.
    Everyone,
}

impl Access {
    /// Processes of this process's own user. The default.
    #[must_use]
    pub fn same_user() -> Self {
        Access::of(Rule::SameUser)
    }

    /// Processes of these users, and of this process's own.
    ///
    /// On Windows, which has no such numbers, nobody.
    #[must_use]
    pub fn uids(uids: impl IntoIterator<Item = u32>) -> Self {
        Access::of(Rule::Uids(uids.into_iter().collect()))
    }

    /// Processes that are in one of these groups, by their own or by a supplementary
    /// one, and processes of this process's own user.
    ///
    /// On Windows, which has no such numbers, nobody.
    #[must_use]
    pub fn gids(gids: impl IntoIterator<Item = u32>) -> Self {
        Access::of(Rule::Gids(gids.into_iter().collect()))
    }

    /// Every process on the machine that can reach the pipe.
    #[must_use]
    pub fn anyone() -> Self {
        Access::of(Rule::Anyone)
    }

    /// Processes for which `rule` says yes; it decides alone, about the process's own
    /// user too. One that panics says no. It holds others up while it runs.
    #[must_use]
    pub fn when(rule: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        Access::of(Rule::When(Arc::new(rule)))
    }

    /// The same for a rule that has to wait for its answer.
    #[must_use]
    pub fn when_async<F>(rule: impl Fn(Peer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Access::of(Rule::WhenAsync(Arc::new(move |peer| Box::pin(rule(peer)))))
    }

    /// Those, and the others.
    #[must_use]
    pub fn or(self, other: Access) -> Self {
        Access { rules: self.rules.iter().chain(&*other.rules).cloned().collect() }
    }

    /// Whether a process may use the pipe. Its connection must still stand: the system
    /// tells a peer's groups only as long as it does.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`] says who may.
    pub async fn check(&self, peer: &Peer) -> Result<(), AccessDenied> {
        let own = sys::this_user();
        for rule in &*self.rules {
            let allowed = match rule {
                Rule::SameUser => self.is_own(peer, own),
                Rule::Uids(uids) => peer.uid.is_some_and(|uid| Some(uid) == own || uids.contains(&uid)),
                Rule::Gids(gids) => peer.uid.is_some_and(|uid| Some(uid) == own) || is_in(peer, gids),
                Rule::Anyone => true,
                Rule::When(rule) => caught(|| rule(peer)).unwrap_or(false),
                Rule::WhenAsync(rule) => decided(&**rule, peer).await,
            };
            if allowed {
                return Ok(());
            }
        }
        Err(self.deny(peer, own))
    }

    /// The same at once, for a thread that waits for nobody: a rule that has to be
    /// [waited for](Self::when_async) lets nobody in.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_now(&self, peer: &Peer) -> Result<(), AccessDenied> {
        match pin!(self.check(peer)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(checked) => checked,
            Poll::Pending => Err(self.deny(peer, sys::this_user())),
        }
    }

    fn deny(&self, peer: &Peer, own: Option<u32>) -> AccessDenied {
        AccessDenied { peer: peer.clone(), allowed: self.in_words(peer, own) }
    }

    /// How far the door must stand open for those who may come.
    pub(crate) fn reach(&self) -> Reach {
        let own = sys::this_user();
        let mut group = None;
        for rule in &*self.rules {
            match rule {
                Rule::SameUser => {}
                Rule::Uids(uids) if uids.iter().all(|&uid| Some(uid) == own) => {}
                Rule::Gids(gids) => {
                    for &gid in &**gids {
                        if *group.get_or_insert(gid) != gid {
                            return Reach::Everyone;
                        }
                    }
                }
                _ => return Reach::Everyone,
            }
        }
        group.map_or(Reach::Owner, Reach::Group)
    }

    fn of(rule: Rule) -> Self {
        Access { rules: [rule].into() }
    }

    /// Where the system tells no user it lets nobody else in, unless it was told to.
    fn is_own(&self, peer: &Peer, own: Option<u32>) -> bool {
        match (peer.uid, own) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, None) => self.reach() == Reach::Owner,
            _ => false,
        }
    }

    /// Who may, for whoever may not.
    fn in_words(&self, peer: &Peer, own: Option<u32>) -> String {
        let (mut users, mut groups, mut by_rule) = (Vec::new(), Vec::new(), false);
        for rule in &*self.rules {
            match rule {
                Rule::SameUser => users.extend(own),
                Rule::Uids(uids) => users.extend(own.iter().chain(&**uids)),
                Rule::Gids(gids) => {
                    users.extend(own);
                    groups.extend(&**gids);
                }
                Rule::Anyone | Rule::When(_) | Rule::WhenAsync(_) => by_rule = true,
            }
        }
        let mut kinds = Vec::new();
        if self.reach() == Reach::Owner {
            kinds.push(own.map_or("its own user only".into(), |uid| format!("its own user only, {uid}")));
        } else if !users.is_empty() {
            kinds.push(format!("users {}", listed(users)));
        }
        if !groups.is_empty() {
            kinds.push(format!("members of groups {}", listed(groups)));
        }
        if by_rule {
            kinds.push("whoever a rule of the program lets in".to_owned());
        }
        let untold = if peer.uid.is_none() { "; the system does not tell whose process it is" } else { "" };
        format!("{}{untold}", kinds.join(", or "))
    }
}

impl Default for Access {
    fn default() -> Self {
        Access::same_user()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")?;
        f.debug_list().entries(&*self.rules).finish()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::SameUser => f.write_str("SameUser"),
            Rule::Uids(uids) => f.debug_tuple("Uids").field(uids).finish(),
            Rule::Gids(gids) => f.debug_tuple("Gids").field(gids).finish(),
            Rule::Anyone => f.write_str("Anyone"),
            Rule::When(_) => f.write_str("When"),
            Rule::WhenAsync(_) => f.write_str("WhenAsync"),
        }
    }
}

/// A process may not use a pipe. The words say who it is and who may.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{peer} is not allowed; allowed is {allowed}")]
pub struct AccessDenied {
    peer: Peer,
    allowed: String,
}

impl AccessDenied {
    /// A server whose user has no number in this process's user namespace.
    pub(crate) fn unmapped(peer: Peer, expected: u32) -> Self {
        let allowed = format!(
            "user {expected} alone, and the user of that process has no number in this user namespace"
        );
        AccessDenied { peer, allowed }
    }

    /// Who was turned away.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// Whether a process is in one of these groups.
fn is_in(peer: &Peer, gids: &[u32]) -> bool {
    // A group without a number here reads like every other such group.
    let is_listed = |gid: &u32| gids.contains(gid) && !sys::may_be_unmapped_group(*gid);
    let own_group = peer.gid.is_some_and(|gid| is_listed(&gid));
    // A peer that cannot be asked is in none.
    own_group || peer.connected.groups().is_ok_and(|groups| groups.iter().any(is_listed))
}

async fn decided(rule: &(dyn Fn(Peer) -> Decision + Send + Sync), peer: &Peer) -> bool {
    let Ok(mut decision) = caught(|| rule(peer.clone())) else { return false };
    poll_fn(|cx| match caught(|| decision.as_mut().poll(cx)) {
        Ok(Poll::Ready(allowed)) => Poll::Ready(allowed),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(false),
    })
    .await
}

/// Runs what the user has written. Nothing of it is used after a panic.
fn caught<T>(rule: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(rule))
}

/// The first few: whoever is turned away need not know all.
fn listed(mut numbers: Vec<u32>) -> String {
    numbers.sort_unstable();
    numbers.dedup();
    let more = numbers.len().saturating_sub(NAMED_IN_DENIAL);
    let named: Vec<_> = numbers.iter().take(NAMED_IN_DENIAL).map(u32::to_string).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use tokio::task::yield_now;

    use super::*;

    /// A process of a user, as the system would tell it.
    fn of(uid: u32, gid: u32) -> Peer {
        Peer { pid: Some(7), uid: Some(uid), gid: Some(gid), ..Peer::unknown() }
    }

    fn own() -> Peer {
        Peer::this_process()
    }

    async fn words(access: &Access, peer: &Peer) -> String {
        access.check(peer).await.expect_err("it is not allowed").to_string()
    }

    #[tokio::test]
    async fn each_kind_lets_in_its_own_and_nobody_else() {
        let Some(uid) = own().uid else { return };
        let (other, group) = (uid + 1, uid + 3);
        for access in [Access::default(), Access::uids([]), Access::gids([])] {
            assert_eq!(access.check(&own()).await, Ok(()), "{access:?}");
            let words = words(&access, &of(other, group)).await;
            assert!(words.starts_with(&format!("process 7 of user {other} is not allowed")), "{words}");
            assert!(words.ends_with(&format!("its own user only, {uid}")), "{words}");
        }
        let access = Access::uids([other, other + 1]);
        assert_eq!(access.check(&own()).await, Ok(()));
        assert_eq!(access.check(&of(other, 0)).await, Ok(()));
        let told = words(&access, &of(other + 2, 0)).await;
        assert!(told.ends_with(&format!("allowed is users {uid}, {other}, {}", other + 1)), "{told}");
        let access = Access::gids([group]);
        assert_eq!(access.check(&own()).await, Ok(()));
        assert_eq!(access.check(&of(other, group)).await, Ok(()));
        let told = words(&access, &of(other, group + 1)).await;
        assert!(told.ends_with(&format!("users {uid}, or members of groups {group}")), "{told}");
        assert_eq!(Access::anyone().check(&of(other, group)).await, Ok(()));
        assert_eq!(Access::anyone().check(&Peer::unknown()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_rule_decides_alone_and_one_that_panics_says_no() {
        let Some(uid) = own().uid else { return };
        let access = Access::when(move |peer| peer.uid == Some(uid + 1));
        assert_eq!(access.check(&of(uid + 1, 0)).await, Ok(()));
        assert!(words(&access, &own()).await.ends_with("allowed is whoever a rule of the program lets in"));
        let access = Access::when_async(move |peer| async move {
            yield_now().await;
            peer.uid == Some(uid + 1)
        });
        assert_eq!(access.check(&of(uid + 1, 0)).await, Ok(()));
        assert!(access.check(&own()).await.is_err());
        // At once, when it is first asked, and when it is asked again.
        let panicking = [
            Access::when(|_| panic!("a test")),
            Access::when_async(|_| -> std::future::Ready<bool> { panic!("a test") }),
            Access::when_async(|_| async { panic!("a test") }),
            Access::when_async(|_| async {
                yield_now().await;
                panic!("a test")
            }),
        ];
        for access in panicking {
            assert!(access.check(&own()).await.is_err());
            // What stands behind it is asked all the same.
            assert_eq!(access.or(Access::same_user()).check(&own()).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn several_let_in_who_any_of_them_lets_in() {
        let Some(uid) = own().uid else { return };
        let access = Access::uids([uid + 1]).or(Access::gids([uid + 5]));
        let access = access.or(Access::when(move |peer| peer.uid == Some(uid + 2)));
        for peer in [own(), of(uid + 1, 0), of(uid + 9, uid + 5), of(uid + 2, 0)] {
            assert_eq!(access.check(&peer).await, Ok(()));
        }
        let words = words(&access, &of(uid + 3, 0)).await;
        assert!(words.contains("users") && words.contains("groups") && words.contains("a rule"), "{words}");
    }

    #[tokio::test]
    async fn of_whom_nothing_is_known_is_nobody_s() {
        if own().uid.is_none() {
            return;
        }
        for access in [Access::same_user(), Access::uids([0]), Access::gids([0])] {
            let words = words(&access, &Peer::unknown()).await;
            assert!(words.contains("does not tell whose"), "{words}");
        }
    }

    #[tokio::test]
    async fn a_denial_names_the_first_few() {
        let words = words(&Access::uids(100..200), &of(50, 50)).await;
        assert!(words.contains("107") || words.contains("106"), "{words}");
        assert!(words.ends_with("93 more") || words.ends_with("92 more"), "{words}");
    }

    #[test]
    fn the_door_stands_open_as_far_as_needed() {
        let Some(uid) = own().uid else { return };
        for owner in [Access::same_user(), Access::uids([uid]), Access::gids([]).or(Access::same_user())] {
            assert_eq!(owner.reach(), Reach::Owner, "{owner:?}");
        }
        for group in [Access::gids([5]), Access::gids([5, 5]).or(Access::uids([uid]))] {
            assert_eq!(group.reach(), Reach::Group(5), "{group:?}");
        }
        let everyone = [
            Access::gids([5, 6]),
            Access::gids([5]).or(Access::gids([6])),
            Access::uids([uid + 1]),
            Access::gids([5]).or(Access::uids([uid + 1])),
            Access::anyone(),
            Access::when(|_| false),
            Access::same_user().or(Access::when_async(|_| async { false })),
        ];
        for access in everyone {
            assert_eq!(access.reach(), Reach::Everyone, "{access:?}");
        }
    }

    #[test]
    fn who_cannot_wait_for_a_rule_lets_nobody_in_by_it() {
        assert_eq!(Access::anyone().check_now(&own()), Ok(()));
        assert!(Access::when_async(|_| std::future::pending()).check_now(&own()).is_err());
    }

    #[test]
    fn a_check_without_a_slow_rule_is_ready_at_once() {
        let access = Access::gids([1]).or(Access::when(|_| true));
        let peer = Peer::unknown();
        let mut check = Box::pin(access.check(&peer));
        assert!(check.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
