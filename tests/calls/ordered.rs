//! Ordered methods: one call after the other, on each connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use futures::stream;
use panpipe::{CallError, Codec, ServiceClient, Streaming};
use panpipe_tests::process::Process;
use panpipe_tests::sequence::{
    Asked, AskedClient, Event, Recorder, Sequence, SequenceClient, one_after_the_other,
};
use panpipe_tests::{PATIENCE, eventually, unique_name};

/// How a server runs.
const MODES: [&str; 3] = ["current", "threads", "blocking"];

fn server(mode: &str, max_calls: Option<u32>) -> (Process, String) {
    let name = unique_name("sequence");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sequence"));
    command.args([mode, &name]).args(max_calls.map(|calls| calls.to_string()));
    let process = Process::start(&mut command).serving(&name);
    process.wait_for("ready");
    (process, name)
}

async fn client(name: &str) -> SequenceClient {
    SequenceClient::connect(name).await.unwrap()
}

/// A call that has been started. It is on its way before any that is made later.
async fn started<T>(call: impl Future<Output = T> + 'static) -> Pin<Box<dyn Future<Output = T>>> {
    let mut call: Pin<Box<dyn Future<Output = T>>> = Box::pin(call);
    assert!(poll_immediate(&mut call).await.is_none(), "the call waits");
    call
}

/// Holds up the ordered calls of a client until `release`.
async fn held(sequence: &SequenceClient, id: u64) -> Pin<Box<dyn Future<Output = Held>>> {
    let hold = started(sequence.hold(id)).await;
    // The unordered method runs beside it.
    let noted = sequence.events().await.unwrap();
    assert_eq!(noted.last(), Some(&Event::Begun(id)));
    hold
}

type Held = Result<(), CallError<String>>;

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_every_kind_run_one_after_the_other_as_they_were_made() {
    /// Around the size from which on a message goes out in parts.
    const SIZES: [usize; 6] = [0, 100, (128 << 10) - 100, 128 << 10, (128 << 10) + 1, 1 << 20];
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let sequence = client(&name).await;
        // A linear congruential generator.
        let mut random: u64 = 0x51ed_270b;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let mut running = VecDeque::new();
        let count = 300;
        for id in 0..count {
            let (pending, size) = (next(4) as u32, SIZES[next(SIZES.len())]);
            match next(4) {
                0 => sequence.tell(id, pending, vec![7; size]).await.unwrap(),
                // A large call is awaited: a later one that is small may pass it on the way.
                1 if size >= 128 << 10 => assert_eq!(sequence.run(id, pending, vec![7; size]).await, Ok(id)),
                1 | 2 => {
                    let mut call = Box::pin(sequence.run(id, pending, vec![7; 100]));
                    match poll_immediate(&mut call).await {
                        Some(made) => assert_eq!(made, Ok(id)),
                        None => running.push_back((id, call)),
                    }
                }
                _ => assert_eq!(sequence.sum(id, Streaming::new(stream::iter(0..10))).await, Ok(45)),
            }
            if next(20) == 0 {
                for (id, call) in running.drain(..) {
                    assert_eq!(call.await, Ok(id));
                }
            }
        }
        for (id, call) in running {
            assert_eq!(call.await, Ok(id));
        }
        let all = count as usize * 2;
        eventually("all have ended", PATIENCE, async || sequence.events().await.unwrap().len() >= all).await;
        assert_eq!(sequence.events().await.unwrap(), one_after_the_other(0..count), "{mode}");
    }
}

#[tokio::test]
async fn a_call_that_gives_up_while_it_waits_never_begins() {
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let sequence = client(&name).await;
        let hold = held(&sequence, 1).await;
        let dropped = started(sequence.run(2, 1, vec![])).await;
        let late = sequence.with_timeout(Duration::from_millis(1)).run(3, 1, vec![]);
        assert_eq!(late.await, Err(CallError::DeadlineExceeded));
        let last = started(sequence.run(4, 1, vec![])).await;
        drop(dropped);
        sequence.release().await.unwrap();
        assert_eq!((hold.await, last.await), (Ok(()), Ok(4)));
        assert_eq!(sequence.events().await.unwrap(), one_after_the_other([1, 4]), "{mode}");
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_or_panics_lets_the_next_one_begin() {
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let sequence = client(&name).await;
        let hold = held(&sequence, 1).await;
        let panics = started(sequence.panic(2)).await;
        sequence.tell(3, 1, vec![]).await.unwrap();
        let last = started(sequence.run(4, 1, vec![])).await;
        drop(hold);
        assert_eq!(panics.await, Err(CallError::Panicked));
        assert_eq!(last.await, Ok(4));
        assert_eq!(sequence.events().await.unwrap(), one_after_the_other(1..=4), "{mode}");
    }
}

#[tokio::test]
async fn connections_do_not_wait_for_each_other() {
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let (one, other) = (client(&name).await, client(&name).await);
        let hold = held(&one, 1).await;
        assert_eq!(other.run(2, 1, vec![]).await, Ok(2));
        let _waits = started(one.run(3, 1, vec![])).await;
        // What waits with a connection ends with it, and one-way calls run all the same.
        one.tell(4, 1, vec![]).await.unwrap();
        one.flush().await.unwrap();
        drop((hold, _waits, one));
        let all = [Event::Begun(1), Event::Begun(2), Event::Ended(2), Event::Ended(1)];
        let all: Vec<_> = all.into_iter().chain(one_after_the_other([4])).collect();
        eventually("the others have ended", PATIENCE, async || other.events().await.unwrap() == all).await;
    }
}

#[tokio::test]
async fn calls_that_wait_for_room_keep_their_order() {
    for mode in MODES {
        let (_server, name) = server(mode, Some(4));
        let sequence = client(&name).await;
        let hold = held(&sequence, 0).await;
        // More than run at once: the last of them wait before they reach the service.
        for id in 1..=20 {
            sequence.tell(id, 1, vec![]).await.unwrap();
        }
        // It has room, and comes behind them all the same.
        let last = started(sequence.run(21, 1, vec![])).await;
        sequence.release().await.unwrap();
        assert_eq!((hold.await, last.await), (Ok(()), Ok(21)));
        assert_eq!(sequence.events().await.unwrap(), one_after_the_other(0..=21), "{mode}");
    }
}

#[tokio::test]
async fn a_server_that_ends_runs_the_calls_that_wait() {
    for mode in MODES {
        let (mut process, name) = server(mode, None);
        let sequence = client(&name).await;
        let hold = held(&sequence, 1).await;
        let calls = [started(sequence.run(2, 1, vec![])).await, started(sequence.run(3, 1, vec![])).await];
        // They have arrived, and wait, when the server hears of its end.
        assert_eq!(sequence.events().await.unwrap(), [Event::Begun(1)]);
        process.tell("end");
        assert_eq!(hold.await, Ok(()));
        assert_eq!(join_all(calls).await, [Ok(2), Ok(3)]);
        drop(sequence);
        process.wait_for("ended");
    }
}

/// Calls the sequence back while it answers.
struct Back(SequenceClient, bool);

impl Asked for Back {
    async fn answer(&self) -> Result<u64, String> {
        let Back(sequence, ordered) = self;
        if !ordered {
            return Ok(sequence.events().await.map_err(|error| error.to_string())?.len() as u64);
        }
        // The handler of this call would have to end first, and waits for this.
        let nested = sequence.with_timeout(Duration::from_millis(1)).run(9, 1, vec![]).await;
        nested.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn an_ordered_handler_may_be_called_back_by_unordered_calls() {
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let sequence = client(&name).await;
        let ask = |id, ordered| sequence.ask(id, AskedClient::offer(Back(sequence.clone(), ordered).serve()));
        assert_eq!(ask(1, false).await, Ok(1));
        // An ordered one ends with its deadline, and holds up nothing.
        let failed = CallError::<String>::DeadlineExceeded.to_string();
        assert_eq!(ask(2, true).await, Err(CallError::App(failed)));
        assert_eq!(sequence.run(3, 1, vec![]).await, Ok(3));
        assert_eq!(sequence.events().await.unwrap(), one_after_the_other(1..=3), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_a_client_passes_keeps_the_order_too() {
    let ids: Vec<u64> = (0..200).collect();
    for mode in MODES {
        let (_server, name) = server(mode, None);
        let recorder = Recorder::default();
        let sequence = client(&name).await;
        let passed = SequenceClient::offer(recorder.clone().serve());
        assert_eq!(sequence.drive(passed, ids.clone()).await, Ok(ids.clone()));
        assert_eq!(recorder.noted(), one_after_the_other(ids.clone()), "{mode}");
        // The same of a client without a runtime.
        let ids = ids.clone();
        let noted = tokio::task::spawn_blocking(move || {
            let recorder = Recorder::default();
            let sequence = SequenceClient::connect_blocking(&name).unwrap();
            let passed = SequenceClient::offer(recorder.clone().serve());
            assert_eq!(sequence.drive(passed, ids.clone()), Ok(ids));
            recorder.noted()
        });
        assert_eq!(noted.await.unwrap(), one_after_the_other(0..200), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_client_is_a_connection_of_its_own() {
    let kinds: [fn(Recorder) -> SequenceClient; 2] =
        [SequenceClient::local, |recorder| SequenceClient::local_encoded(recorder, Codec::Bincode)];
    for local in kinds {
        let recorder = Recorder::default();
        let (sequence, other) = (local(recorder.clone()), local(recorder.clone()));
        let hold = held(&sequence, 1).await;
        for id in 2..50 {
            sequence.tell(id, 2, vec![]).await.unwrap();
        }
        let last = started(sequence.run(50, 2, vec![])).await;
        assert_eq!(other.run(90, 2, vec![]).await, Ok(90));
        // A call that is never polled is in the way of no other.
        let _never = sequence.run(91, 2, vec![]);
        other.release().await.unwrap();
        assert_eq!((hold.await, last.await), (Ok(()), Ok(50)));
        let mut noted = recorder.noted();
        noted.retain(|event| !matches!(event, Event::Begun(90) | Event::Ended(90)));
        assert_eq!(noted, one_after_the_other(1..=50));
    }
}
