//! Serves the studio to many: `studio serve NAME [KEY=VALUE …]`, to a parent:
//! `studio child [small-pipes]`. Or calls, in a process of its own, the listeners that a studio
//! keeps: `studio call NAME X`. Or sends one-way calls whose handlers wait for this process
//! forever, until no more of them can be sent: `studio clog NAME`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use panpipe::{Limits, NoService, Server};
use panpipe_tests::studio::{Listener, ListenerClient, Mute, Shared, Studio, StudioClient, StudioImpl};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["serve", name, settings @ ..] => serve(name, settings).await,
        ["child", pipes @ ..] => {
            if !pipes.is_empty() {
                panpipe_tests::system::shrink_pipes();
            }
            let served = panpipe::serve_parent(|_: NoService| StudioImpl::default().serve()).await;
            if let Err(error) = served {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        ["call", name, x] => call(name, x.parse().expect("a number")).await,
        ["clog", name] => clog(name).await,
        other => panic!("{other:?} is nothing to do"),
    }
    ExitCode::SUCCESS
}

async fn serve(name: &str, settings: &[&str]) {
    let mut limits = Limits::default();
    for setting in settings {
        let (key, value) = setting.split_once('=').expect("KEY=VALUE");
        let value: usize = value.parse().expect("a setting is a number");
        match key {
            "max_calls" => limits.max_calls = value as u32,
            "max_clients" => limits.max_clients = value,
            "max_ports" => limits.max_ports = value as u32,
            "max_message" => limits.max_message = value,
            "stream_items" => limits.stream_items = value as u32,
            other => panic!("{other} is no setting"),
        }
    }
    let shared = Arc::new(Shared::default());
    let server = Server::bind(name)
        .service_per_client(move |client| StudioImpl::for_client(&shared, client).serve())
        .limits(limits)
        .until(async {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
        })
        .start()
        .expect("the name is free");
    println!("ready");
    server.wait().await.expect("the server's task does not panic");
    println!("ended");
}

/// Calls every kept listener in every way, and prints what came back.
async fn call(name: &str, x: u64) {
    let studio = StudioClient::connect(name).await.expect("the studio listens");
    for listener in studio.kept().await.expect("the studio answers") {
        let stream = listener.stream(x).await.expect("the listener answers");
        let sum = stream.fold(0, async |sum, number| sum + number.expect("the stream is whole")).await;
        println!(
            "{:?} {:?} {sum} {:?}",
            listener.hear(x).await,
            listener.object().await.map_err(|error| error.to_string()),
            listener.caller().await,
        );
        listener.overhear(x + 1).await.expect("the listener is there");
        println!("{:?}", listener.hear(x + 2).await);
    }
}

/// Sends one-way calls whose handlers call this process back, where nobody answers.
async fn clog(name: &str) {
    let studio = loop {
        let studio = StudioClient::connect(name).await.expect("the studio listens");
        // The studio may still have a client that has gone, and no room for another.
        if studio.be_prompted(ListenerClient::offer(Mute.serve())).await.is_ok() {
            break studio;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    while let Ok(sent) = tokio::time::timeout(Duration::from_millis(200), studio.prompt(0)).await {
        sent.expect("the studio is there");
    }
    println!("blocked");
    std::future::pending().await
}
