//! A host of plugins, to be killed: `host PLUGIN COUNT`.
//!
//! Prints the processes of its plugins and of what those have started, and stays.

use std::process::{Command, Stdio};

use panpipe::{Output, Plugin};
use panpipe_tests::plug::{Adder, COOKIE, Host, PlugClient};

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [program, count] = args.as_slice() else { panic!("host PLUGIN COUNT") };
    let mut plugins = Vec::new();
    for _ in 0..count.parse().expect("a number") {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        let plugin: Plugin<PlugClient> = Plugin::spawn(command)
            .cookie(COOKIE)
            .offer(Adder.serve())
            .stderr(Output::Null)
            .start()
            .await
            .expect("the plugin starts");
        let child = plugin.client().leave_a_child().await.expect("the plugin answers");
        println!("{} {child}", plugin.pid().expect("it runs"));
        plugins.push(plugin);
    }
    println!("ready");
    std::future::pending::<()>().await;
}
