//! Which versions of services two sides agree upon.

use super::ports::Quiet;
use super::*;
use crate::carried::{Cargo, Offer};
use crate::error::RefusalReason;
use crate::session::ports::PortKind;
use crate::session::reply::Failure;

fn store(oldest: u32, newest: u32) -> ServiceInfo {
    ServiceInfo::new("Store", newest).with_oldest(oldest)
}

fn host(oldest: u32, newest: u32) -> ServiceInfo {
    ServiceInfo::new("Host", newest).with_oldest(oldest)
}

fn service_of(version: u32, told: Option<u32>) -> Offer {
    Offer::Service { served: Served { service: Arc::new(Quiet), version: Some(version) }, told }
}

/// Sides of which each wants one service and offers others.
fn sides(dialer: (ServiceInfo, Vec<ServiceInfo>), acceptor: (ServiceInfo, Vec<ServiceInfo>)) -> (Side, Side) {
    let config = |(wants, offers): (ServiceInfo, _)| Config {
        wants: wants.or_none(),
        offers: Arc::new(offers),
        ..Config::acceptor()
    };
    let ours = Side::with(Config { role: Role::Dialer, ..config(dialer) });
    (ours, Side::with(config(acceptor)))
}

fn greet(ours: &mut Side, theirs: &mut Side) {
    ours.core.say_hello();
    theirs.hears(&ours.sends());
    ours.hears(&theirs.sends());
}

fn root(index: u32, version: u32) -> Option<Root> {
    Some(Root { index, version })
}

#[test]
fn both_sides_know_the_version_of_each_direction() {
    let (mut ours, mut theirs) =
        sides((store(3, 4), vec![host(1, 2)]), (host(2, 9), vec![store(1, 1), store(2, 3)]));
    assert_eq!((ours.core.version(), theirs.core.version()), (None, None));
    ours.core.say_hello();
    theirs.hears(&ours.sends());
    // The side that answers knows at once, the one that asks with the answer.
    assert_eq!((theirs.core.root(), theirs.core.version()), (root(1, 3), Some(2)));
    assert_eq!(ours.core.version(), None);
    ours.hears(&theirs.sends());
    assert_eq!((ours.core.root(), ours.core.version()), (root(0, 2), Some(3)));
}

#[test]
fn a_dialer_that_offers_several_has_the_acceptor_choose_and_both_know_the_version() {
    let offers = vec![host(1, 1), host(2, 5), store(1, 9)];
    let (mut ours, mut theirs) = sides((ServiceInfo::none(), offers), (host(1, 3), vec![]));
    greet(&mut ours, &mut theirs);
    assert_eq!((ours.core.root(), theirs.core.version()), (root(1, 3), Some(3)));
}

#[test]
fn a_peer_whose_hello_ends_before_the_ranges_speaks_one_version() {
    let (mut ours, mut theirs) = sides((store(3, 3), vec![]), (ServiceInfo::none(), vec![store(1, 4)]));
    ours.core.say_hello();
    let mut sent = ours.sends();
    // The ranges and all behind them, off the only frame, which begins behind the magic.
    const BEHIND: u8 = 3 + 4 + 2 + 3;
    sent.truncate(sent.len() - usize::from(BEHIND));
    sent[MAGIC.len()] -= BEHIND;
    theirs.hears(&sent);
    assert_eq!(theirs.core.root(), root(0, 3));
    let mut answer = theirs.sends();
    answer.truncate(answer.len() - usize::from(BEHIND));
    answer[MAGIC.len()] -= BEHIND;
    ours.hears(&answer);
    // What is offered as version 4 and nothing else is not called as version 3: the
    // other side, which has accepted it, has to decide.
    assert_eq!((ours.core.version(), ours.core.close_reason()), (None, None));
}

#[test]
fn each_side_refuses_what_has_no_version_in_common_and_says_who_is_older() {
    let (mut ours, mut theirs) = sides((store(3, 4), vec![]), (ServiceInfo::none(), vec![store(5, 6)]));
    greet(&mut ours, &mut theirs);
    let Some(CloseReason::Refused(refusal)) = ours.core.close_reason() else { panic!("it was accepted") };
    assert_eq!(refusal.reason, RefusalReason::ServiceVersion);
    assert!(refusal.message.contains("the side that asks is the older one"), "{refusal}");
    // The side that dials is asked as well.
    let (mut ours, mut theirs) = sides((store(3, 4), vec![host(1, 2)]), (host(3, 4), vec![store(3, 4)]));
    greet(&mut ours, &mut theirs);
    theirs.hears(&ours.sends());
    let Some(CloseReason::Refused(refusal)) = theirs.core.close_reason() else { panic!("it was accepted") };
    assert!(refusal.message.contains("the side that offers is the older one"), "{refusal}");
}

#[test]
fn who_calls_without_having_asked_speaks_the_newest() {
    let nothing = ServiceInfo::none;
    let (mut ours, mut theirs) = sides((nothing(), vec![host(1, 2)]), (nothing(), vec![store(3, 4)]));
    greet(&mut ours, &mut theirs);
    assert_eq!((ours.core.root(), ours.core.version()), (root(0, 2), Some(4)));
    assert_eq!((theirs.core.root(), theirs.core.version()), (root(0, 4), Some(2)));
}

#[test]
fn a_service_at_another_port_is_opened_in_a_version_that_both_sides_know() {
    let (mut ours, mut theirs) = greeted(Limits::default(), Limits::default());
    for (told, at) in [(Some(300), 2), (None, 4)] {
        let mut key = ours.started(b"");
        theirs.hears(&ours.sends());
        let call = theirs.asked.pop().unwrap().reply_to.unwrap();
        let mut offer = Cargo::of_ports(vec![service_of(300, told)]);
        let reply = &mut message(|_, _| Ok(offer.take()));
        assert!(theirs.core.try_answer(call, reply));
        ours.hears(&theirs.sends());
        let mut reply = Reply::default();
        assert_eq!(ours.core.poll_reply(&mut key, &mut idle(), &mut reply), Poll::Ready(Ok(())));
        let port = Attached { port: at, kind: PortKind::Service, items: 0, version: told };
        assert_eq!(*reply.attached.unwrap(), [port]);
        // And what is called there is called in that version.
        let call = ours.core.poll_call(
            &mut None,
            CallTarget::new(at, 7),
            None,
            || 0,
            &mut idle(),
            Some(&mut message(|_, _| Ok(None))),
        );
        assert_eq!(call, Poll::Ready(Ok(())));
        theirs.hears(&ours.sends());
        let asked = theirs.asked.pop().unwrap();
        assert_eq!(asked.extras.unwrap().service.unwrap().version, Some(300));
        theirs.core.fail(asked.reply_to.unwrap(), Failure::UnknownMethod);
        ours.hears(&theirs.sends());
    }
}
