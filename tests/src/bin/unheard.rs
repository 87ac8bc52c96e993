//! A host whose standard error nobody reads: `unheard PLUGIN`.
//!
//! Has one plugin print more than anybody takes, and calls another one meanwhile.

use std::process::{Command, Stdio};

use panpipe::{Output, Plugin};
use panpipe_tests::plug::{Adder, COOKIE, Host, PlugClient};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let program = std::env::args().nth(1).expect("unheard PLUGIN");
    let (_unread, end) = std::os::unix::net::UnixStream::pair().expect("there are sockets");
    rustix::stdio::dup2_stderr(&end).expect("the standard error can be another");
    let start = || {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null());
        Plugin::spawn(command).cookie(COOKIE).offer(Adder.serve()).stdout(Output::Null)
    };
    let loud: Plugin<PlugClient> = start().start().await.expect("the plugin starts");
    let quiet: Plugin<PlugClient> = start().start().await.expect("the plugin starts");
    let printing = tokio::spawn(loud.client().print(20_000));
    for _ in 0..1000 {
        assert_eq!(quiet.client().add(1, 2).await, Ok(Some(3)));
    }
    println!("{}", if printing.is_finished() { "all was read" } else { "ready" });
    // What is not read is waited for where the runtime ends in order.
    std::process::exit(0);
}
