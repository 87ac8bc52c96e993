//! A client that the server calls, in a process of its own: `guest NAME [press] [stay]`.
//!
//! Prints `in`, what it hears, and why the connection has ended.

use panpipe::ServiceClient;
use panpipe_tests::hall::{Audience, HallClient, Loud, Press};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let name = &args[0];
    let has = |what: &str| args.iter().any(|arg| arg == what);
    let mut connect = HallClient::connect(name);
    if !has("deaf") {
        connect = connect.offer(Audience::serve(Loud));
    }
    if has("press") {
        connect = connect.offer(Press::serve(Loud));
    }
    let hall = connect.await.expect("the hall is open");
    println!("in as {}", hall.who_am_i().await.expect("the hall answers").expect("it knows its guests"));
    let ended = if has("stay") {
        hall.stay().await.map_err(|error| error.to_string())
    } else {
        // Nothing is said by this side from here on.
        while hall.close_reason().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Ok(())
    };
    println!("{ended:?}: {}", hall.close_reason().expect("it has ended"));
}
