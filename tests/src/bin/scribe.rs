//! Writes numbered lines to a one-way pipe: `scribe name NAME WRITER COUNT [again]` or
//! `scribe handle HANDLE WRITER COUNT`.
//!
//! Told `again`, it makes a call again that certainly was not sent. Prints `connected`,
//! and then how many calls failed so.

use std::time::Duration;

use panpipe::{CallError, oneway};
use panpipe_tests::sink::SinkClient;
use panpipe_transport::PipeWriter;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let number = |place: usize| args[place].parse::<u64>().expect("a number");
    let sink: SinkClient = match [&args[0][..], &args[1]] {
        ["name", name] => {
            oneway::connect(name).wait(Duration::from_secs(30)).await.expect("a reader comes up")
        }
        ["handle", handle] => {
            oneway::over(PipeWriter::from_handle(handle).expect("the parent has passed it"))
        }
        other => panic!("{other:?} is nothing to write to"),
    };
    println!("connected");
    let (writer, count) = (number(2), number(3));
    let again = args.get(4).is_some_and(|arg| arg == "again");
    let mut failed = 0_u64;
    for number in 0..count {
        // Of all sizes.
        let text = vec![number as u8; (number as usize * 37) % 3900];
        loop {
            match sink.line(writer, number, text.clone()).await {
                Ok(()) => break,
                Err(CallError::Disconnected { sent: false }) if again => failed += 1,
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    println!("{failed}");
}
