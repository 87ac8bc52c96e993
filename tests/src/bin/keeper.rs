//! Serves the keeper at a path that everybody may connect to: `keeper serve PATH`. Or
//! calls it: `keeper call PATH WHAT [ARGUMENT]`. Or connects, and does what it is told
//! on its standard input: `keeper dial PATH`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use panpipe::{Access, Server};
use panpipe_tests::keeper::{Keeper, KeeperClient, KeeperImpl};
use panpipe_tests::system::Standing;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let runtime = || {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads.worker_threads(3).enable_all().build().expect("there is an event loop")
    };
    match args.as_slice() {
        ["serve", path] => runtime().block_on(serve(path)),
        ["call", path, what @ ..] => runtime().block_on(call(path, what)),
        ["dial", path] => dial(path),
        other => panic!("{other:?} is nothing to do"),
    }
}

async fn serve(path: &str) {
    let told = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let server = Server::bind(path)
        .allow(Access::anyone())
        .service(KeeperImpl::default().serve())
        .grace(Duration::ZERO)
        .until(told)
        .start()
        .expect("the path is free");
    println!("{}", Standing::of_this_thread());
    println!("ready");
    server.wait().await.expect("the server's task does not panic");
}

async fn call(path: &str, what: &[&str]) {
    // Whose the server is does not matter here.
    let connect = KeeperClient::connect(path).trust(Access::anyone());
    let keeper = connect.await.expect("the keeper listens");
    match what {
        ["read", path] => println!("{:?}", keeper.read(path.into()).await),
        // Each path on a line of its own, in the order that they are given in.
        ["open", paths @ ..] => {
            for path in paths {
                println!("{:?}", keeper.open(path.into()).await);
            }
        }
        ["write", path] => println!("{:?}", keeper.write(path.into()).await),
        ["read-many", path, count] => {
            let calls = (0..count.parse().expect("a number")).map(|_| keeper.read(path.into()));
            let mut all = join_all(calls).await;
            println!("{}", all.len());
            all.dedup();
            all.iter().for_each(|text| println!("{text:?}"));
        }
        ["make", path] => println!("{:?}", keeper.make(path.into()).await),
        ["threads"] => match keeper.threads().await {
            Ok(threads) => threads.iter().for_each(|thread| println!("{thread}")),
            Err(error) => println!("{error:?}"),
        },
        ["threads-now"] => {
            keeper.threads_now().await.expect("it answers").iter().for_each(|thread| println!("{thread}"));
        }
        ["meet", count, how_many] => {
            let how_many = how_many.parse().expect("a number");
            let calls = (0..count.parse().expect("a number")).map(|_| keeper.meet(how_many));
            let mut all = try_join_all(calls).await.expect("the keeper answers");
            println!("{}", all.len());
            all.dedup();
            all.iter().for_each(|thread| println!("{thread}"));
        }
        ["panic"] => println!("{:?}", keeper.panic().await),
        ["stay"] => println!("{:?}", keeper.stay().await),
        ["about"] => println!("{:?}", keeper.about().await),
        ["elsewhere"] => println!("{:?}", keeper.elsewhere().await),
        ["linger"] => {
            println!("{:?}", keeper.linger().await);
            // Not before it has arrived: another call's reply comes behind it.
            keeper.lingered().await.expect("the keeper answers");
        }
        other => panic!("{other:?} is nothing to call"),
    }
}

/// Connects; then becomes another program, or ends, with the connection in the hands of one.
fn dial(path: &str) {
    let socket = std::os::unix::net::UnixStream::connect(path).expect("somebody listens");
    println!("connected");
    let mut line = String::new();
    io::stdin().read_line(&mut line).expect("it can be read");
    // It reads the connection to its end.
    let mut cat = Command::new("cat");
    cat.stdin(OwnedFd::from(socket)).stdout(Stdio::null());
    match line.trim() {
        "exec" => panic!("{}", cat.exec()),
        "hand over" => drop(cat.spawn().expect("cat can be run")),
        other => panic!("{other:?} is nothing to do"),
    }
}
