//! Serves the keeper at a path that everybody may connect to: `keeper serve PATH`. Or
//! calls it: `keeper call PATH WHAT [ARGUMENT]`. Or connects, and does what it is told
//! on its standard input: `keeper dial PATH`.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use futures::future::{join_all, try_join_all};
use panpipe_tests::keeper::{Keeper, KeeperClient, KeeperImpl};
use panpipe_tests::system::Standing;
use panpipe_transport::Listener;
use tokio::net::UnixStream;

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
    let listener = Listener::bind(path).expect("the path is free");
    fs::set_permissions(path, Permissions::from_mode(0o666)).expect("it is this process's own");
    println!("{}", Standing::of_this_thread());
    println!("ready");
    let service = KeeperImpl::default().serve();
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.expect("clients can be accepted");
            tokio::spawn(panpipe::serve_stream(stream, service.clone()));
        }
    });
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

async fn call(path: &str, what: &[&str]) {
    // A stream of its own: whose the server is does not matter here.
    let stream = UnixStream::connect(path).await.expect("the keeper listens");
    let keeper = KeeperClient::over(stream);
    match what {
        ["read", path] => println!("{:?}", keeper.read(path.into()).await),
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
