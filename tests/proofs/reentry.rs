//! Proof 31: user code that uses the very connection which runs it. No thread waits for
//! itself, or for another that waits for it.

use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::times;

fn returns(scenario: &str, times: usize) {
    let program =
        Process::start(Command::new(env!("CARGO_BIN_EXE_reentry")).args([scenario, &times.to_string()]));
    // A line that does not come in time is a program that waits for itself.
    let last = std::iter::from_fn(|| Some(program.line())).find(|line| line != "goes on");
    assert_eq!(last.as_deref(), Some("done"));
}

#[test]
fn a_reply_locks_a_mutex_that_handlers_hold_while_they_send() {
    returns("mutexes", times(20_000, 1_000_000));
}

#[test]
fn values_use_the_connection_while_they_are_encoded_and_decoded() {
    returns("values", times(20, 2_000));
    returns("values-threads", times(20, 2_000));
}

#[test]
fn a_panic_hook_reports_over_the_connection() {
    returns("panics", times(20, 2_000));
}

#[test]
fn wakers_use_the_connection_when_they_are_woken_and_dropped() {
    returns("wakers", times(10, 5_000));
}

#[test]
fn services_and_streams_use_the_connection_when_they_are_dropped() {
    returns("drops", times(20, 500));
}

#[test]
fn a_stream_of_the_users_own_uses_the_connection_that_it_carries() {
    returns("own-stream", times(100, 5_000));
}
