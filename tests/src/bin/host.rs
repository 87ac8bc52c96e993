//! A host of plugins, told by arguments what to do:
//! - `host PLUGIN COUNT`, to be killed: prints the processes of its plugins and of what those
//!   have started, and stays;
//! - `host reaped HOW PLUGIN`: other code of the host reaps its plugin, which crashes;
//! - `host terminal PLUGIN`: its plugin reads from the terminal;
//! - `host fork PLUGIN`: a fork of it, without exec, has a plugin of its own;
//! - `host start PLUGIN`: prints how the start of its plugin fails.

use std::process::{Command, Stdio};

use panpipe::{Backoff, Output, Plugin, PluginBuilder};
use panpipe_tests::PATIENCE;
use panpipe_tests::plug::{Adder, COOKIE, Host, PlugClient};
use panpipe_tests::sys::processes::{fork_without_exec, ignore_sigchld, reap_everything};
use tokio::runtime::{Builder, Runtime};

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["reaped", how, program] => {
            match *how {
                "by-the-kernel" => ignore_sigchld(),
                "by-a-thread" => reap_everything(),
                other => panic!("{other} is no way to reap"),
            }
            runtime().block_on(crash(program));
        }
        ["terminal", program] => runtime().block_on(async {
            let plugin = start(builder(program)).await;
            println!("{:?}", plugin.client().read_terminal().await);
        }),
        ["fork", program] => fork(program),
        ["start", program] => runtime().block_on(async {
            match builder(program).start::<PlugClient>().await {
                Ok(_) => println!("it starts"),
                Err(error) => println!("{error}"),
            }
        }),
        [program, count] => runtime().block_on(stay(program, count.parse().expect("a number"))),
        other => panic!("{other:?} is nothing to do"),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("there is an event loop")
}

fn builder(program: &str) -> PluginBuilder {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    Plugin::spawn(command).cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}))
}

async fn start(builder: PluginBuilder) -> Plugin<PlugClient> {
    builder.start().await.expect("the plugin starts")
}

async fn stay(program: &str, count: usize) {
    let mut plugins = Vec::new();
    for _ in 0..count {
        let plugin = start(builder(program)).await;
        let child = plugin.client().leave_a_child().await.expect("the plugin answers");
        println!("{} {child}", plugin.pid().expect("it runs"));
        plugins.push(plugin);
    }
    println!("ready");
    std::future::pending::<()>().await;
}

async fn crash(program: &str) {
    let restarted = builder(program).restart(Backoff::exponential()).on_event(|event| println!("{event}"));
    let plugin = start(restarted).await;
    println!("{:?}", plugin.client().crash("out of cheese".to_owned()).await);
    println!("{:?}", plugin.client().add(1, 2).await);
    match plugin.shutdown(PATIENCE).await {
        Ok(status) => println!("{status}"),
        Err(error) => println!("{error}"),
    }
}

fn fork(program: &str) {
    let own = runtime();
    let plugin = own.block_on(start(builder(program)));
    let code = fork_without_exec(|| {
        let runtime = runtime();
        let answer = runtime.block_on(async {
            let plugin = start(builder(program)).await;
            let answer = plugin.client().add(1, 2).await;
            plugin.shutdown(PATIENCE).await.expect("it ends");
            answer
        });
        i32::from(answer != Ok(Some(3)))
    });
    println!("the fork ends with {code}");
    println!("{:?}", own.block_on(plugin.client().add(1, 2)));
}
