//! The server's view of its clients: who is in, calls to all of them, the door.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use panpipe::{CallError, CloseReason, Hub, Limits, RunningServer, Server, Slow};
use panpipe_tests::hall::{AudienceClient, Hall, HallClient, HallImpl, PressClient, of_process};
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, eventually, unique_name};
use rustix::process::Signal;

/// What the hooks have been told.
type Log = Arc<Mutex<Vec<String>>>;

struct Open {
    name: String,
    hub: Hub,
    staying: Arc<AtomicUsize>,
    log: Log,
    _server: RunningServer,
}

fn open(limits: Limits) -> Open {
    let (name, hub, log) = (unique_name("hall"), Hub::new(), Log::default());
    let staying = Arc::<AtomicUsize>::default();
    let (came, went) = (Arc::clone(&log), Arc::clone(&log));
    let server = Server::bind(&name)
        .service(HallImpl { hub: hub.clone(), staying: Arc::clone(&staying) }.serve())
        .hub(&hub)
        .limits(limits)
        .on_connect(move |client| came.lock().unwrap().push(format!("{} came", client.id())))
        .on_disconnect(move |client, why| went.lock().unwrap().push(format!("{} went: {why}", client.id())))
        .start()
        .unwrap();
    Open { name, hub, staying, log, _server: server }
}

impl Open {
    /// A guest that is in; its number.
    fn guest(&self, settings: &[&str]) -> (Process, String) {
        let guest = Process::start(Command::new(env!("CARGO_BIN_EXE_guest")).arg(&self.name).args(settings));
        let number = guest.line().strip_prefix("in as ").expect("the guest is in").to_owned();
        (guest, number)
    }

    /// How many calls stay.
    fn staying(&self) -> usize {
        self.staying.load(Ordering::SeqCst)
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_is_seen_and_told_with_the_reason() {
    let before = SystemTime::now();
    let hall = open(Limits::default());
    assert!(hall.hub.is_empty());
    let (mut one, first) = hall.guest(&[]);
    let (_other, second) = hall.guest(&[]);
    assert_eq!(hall.log(), [format!("{first} came"), format!("{second} came")]);
    let clients = hall.hub.clients();
    assert_eq!(clients.iter().map(|client| client.id().to_string()).collect::<Vec<_>>(), [&*first, &*second]);
    assert_eq!(clients[0].peer().pid, Some(one.id()));
    assert!(clients[0].since() >= before && clients[0].since() <= clients[1].since());
    one.kill();
    eventually("it is seen", PATIENCE, async || hall.hub.len() == 1).await;
    eventually("it is told", PATIENCE, async || hall.log().len() == 3).await;
    let last = hall.log().pop().unwrap();
    assert!(last.starts_with(&format!("{first} went:")) && last.contains("its process has ended"), "{last}");
    assert!(hall.hub.client(clients[0].id()).is_none());
    // Who has gone can still be asked who it was.
    assert_eq!(clients[0].connection().close_reason(), Some(CloseReason::Closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_call_reaches_all_or_those_who_are_meant() {
    let hall = open(Limits::default());
    let guests: Vec<_> = (0..5).map(|_| hall.guest(&[]).0).collect();
    let delivery = hall.hub.broadcast(Slow::Skip, |guest: AudienceClient| guest.hear(7, vec![0; 10])).await;
    assert_eq!((delivery.sent, delivery.failed.len()), (5, 0));
    guests.iter().for_each(|guest| guest.wait_for("heard 7 and 10"));
    let one = guests[3].id();
    let delivery = hall
        .hub
        .broadcast_to(
            |client| client.peer().pid == Some(one),
            Slow::Skip,
            |guest: AudienceClient| guest.hear(8, Vec::new()),
        )
        .await;
    assert_eq!(delivery.sent, 1);
    guests[3].wait_for("heard 8 and 0");
    // The others hear what comes next and not what was not for them.
    hall.hub.broadcast(Slow::Skip, |guest: AudienceClient| guest.hear(9, Vec::new())).await;
    guests.iter().for_each(|guest| guest.wait_for("heard 9 and 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_offer_several_services_or_none() {
    let hall = open(Limits::default());
    let ((both, _), (_deaf, number)) = (hall.guest(&["press"]), hall.guest(&["deaf"]));
    for x in 0..3 {
        let delivery = hall.hub.broadcast(Slow::Skip, move |press: PressClient| press.write(x)).await;
        assert_eq!(delivery.sent, 1);
        let [(client, CallError::Refused(refusal))] = &delivery.failed[..] else {
            panic!("{:?}", delivery.failed)
        };
        assert_eq!(client.id().to_string(), number);
        assert!(refusal.message.contains("Press"), "{refusal}");
        hall.hub.broadcast(Slow::Skip, move |guest: AudienceClient| guest.hear(x, Vec::new())).await;
        both.wait_for(&format!("wrote {x}"));
        both.wait_for(&format!("heard {x} and 0"));
    }
    // The stub is asked for once.
    let client = of_process(&hall.hub, both.id()).unwrap();
    assert_eq!(client.connection().open_ports(), 2);
}

/// Has a guest that does not read, and as much on its way to it as may be.
async fn with_a_slow_guest(hall: &Open) -> (Process, Process) {
    let ((slow, _), (quick, _)) = (hall.guest(&[]), hall.guest(&[]));
    slow.stop();
    let id = of_process(&hall.hub, slow.id()).unwrap().id();
    // What waits goes on into the socket until that is full too.
    let mut skipped = 0;
    eventually("nothing more is taken", PATIENCE, async || {
        let more = |guest: AudienceClient| guest.hear(0, vec![1; 10_000]);
        let delivery = hall.hub.broadcast_to(|client| client.id() == id, Slow::Skip, more).await;
        skipped = if delivery.sent == 0 { skipped + 1 } else { 0 };
        skipped == 20
    })
    .await;
    (slow, quick)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_misses_a_call_or_is_waited_for_and_others_are_not_held_up() {
    let hall = open(Limits::default());
    let (slow, quick) = with_a_slow_guest(&hall).await;
    let delivery = hall.hub.broadcast(Slow::Skip, |guest: AudienceClient| guest.hear(1, Vec::new())).await;
    assert_eq!((delivery.sent, delivery.skipped.len()), (1, 1));
    quick.wait_for("heard 1 and 0");
    let wait = Slow::Wait(Duration::from_millis(50));
    let delivery = hall.hub.broadcast(wait, |guest: AudienceClient| guest.hear(2, Vec::new())).await;
    assert_eq!((delivery.sent, delivery.skipped.len()), (1, 1));
    quick.wait_for("heard 2 and 0");
    // One that is waited for, and reads again in time, gets it.
    let hub = hall.hub.clone();
    let waiting = tokio::spawn(async move {
        hub.broadcast(Slow::Wait(PATIENCE), |guest: AudienceClient| guest.hear(3, Vec::new())).await
    });
    quick.wait_for("heard 3 and 0");
    slow.signal(Signal::CONT);
    let delivery = waiting.await.unwrap();
    assert_eq!((delivery.sent, delivery.skipped.len()), (2, 0));
    let mut line = slow.line();
    while line == "heard 0 and 10000" {
        line = slow.line();
    }
    assert_eq!(line, "heard 3 and 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_may_be_sent_away() {
    let hall = open(Limits::default());
    let (slow, quick) = with_a_slow_guest(&hall).await;
    let delivery =
        hall.hub.broadcast(Slow::Disconnect, |guest: AudienceClient| guest.hear(4, Vec::new())).await;
    assert_eq!((delivery.sent, delivery.disconnected.len()), (1, 1));
    assert_eq!(delivery.disconnected[0].peer().pid, Some(slow.id()));
    quick.wait_for("heard 4 and 0");
    eventually("it is out", PATIENCE, async || hall.hub.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_sent_away_is_told_why() {
    let hall = open(Limits::default());
    let (mut guest, number) = hall.guest(&["stay"]);
    eventually("it stays", PATIENCE, async || hall.staying() == 1).await;
    let client = of_process(&hall.hub, guest.id()).unwrap();
    client.close("the hall is needed for something else");
    let words = guest.line();
    assert!(words.contains("may have run") && words.contains("needed for something else"), "{words}");
    assert!(guest.wait().success());
    eventually("it is told", PATIENCE, async || hall.log().len() == 2).await;
    assert_eq!(hall.log()[1], format!("{number} went: this side closed the connection"));
    client.close("again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_never_in() {
    let hall = open(Limits { max_clients: 0, ..Limits::default() });
    let client = HallClient::connect(&hall.name).await.unwrap();
    assert!(matches!(client.guests().await, Err(CallError::Refused(_))));
    assert!(hall.hub.is_empty() && hall.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_panics_harms_nobody() {
    let name = unique_name("hooks");
    let server = Server::bind(&name)
        .service(HallImpl::default().serve())
        .on_connect(|_| panic!("in on_connect"))
        .on_disconnect(|_, _| panic!("in on_disconnect"))
        .start()
        .unwrap();
    for _ in 0..3 {
        let client = HallClient::connect(&name).await.unwrap();
        assert_eq!(client.guests().await, Ok(0));
        drop(client);
    }
    eventually("all have gone", PATIENCE, async || server.hub().is_empty()).await;
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_let_go_and_a_busy_one_is_not() {
    let hall = open(Limits { idle_timeout: Some(Duration::from_millis(150)), ..Limits::default() });
    let ((mut idle, number), (busy, _)) = (hall.guest(&[]), hall.guest(&["stay"]));
    let words = idle.line();
    assert!(words.starts_with("Ok(())"), "{words}");
    assert!(idle.wait().success());
    eventually("it is told", PATIENCE, async || hall.log().len() == 3).await;
    let last = hall.log().pop().unwrap();
    assert_eq!(last, format!("{number} went: nothing had passed over the connection for some time"));
    // Longer than an idle one would have lived.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(of_process(&hall.hub, busy.id()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_client_that_was_let_go_is_told_as_unsent() {
    let hall = open(Limits { idle_timeout: Some(Duration::from_millis(50)), ..Limits::default() });
    let client = HallClient::connect(&hall.name).await.unwrap();
    assert_eq!(client.guests().await, Ok(1));
    eventually("it is let go", PATIENCE, async || hall.hub.is_empty()).await;
    assert_eq!(client.guests().await, Err(CallError::Disconnected { sent: false }));
}
