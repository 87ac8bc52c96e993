//! Serves a ledger: `ledger serve NAME FILE`, until the end of its standard input
//! or ctrl-c. Or calls one without pause until the end of its standard input, and
//! writes down what came of each call: `ledger call NAME FIRST CLIENTS FILE`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use panpipe::{Backoff, BindError, CallError, ServeError, Server};
use panpipe_tests::ledger::{Book, Ledger, LedgerClient};

/// How many call at once on the connection of one client.
const CALLERS: u64 = 3;

#[tokio::main]
async fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["serve", name, file] => serve(name, file).await,
        ["call", name, first, clients, file] => {
            call(name, first.parse().expect("a number"), clients.parse().expect("a number"), file).await
        }
        other => panic!("{other:?} is nothing to do"),
    }
}

/// Read by a thread that a process which ends does not wait for.
async fn end_of_input() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tell.send(());
    });
    let _ = told.await;
}

async fn serve(name: &str, file: &str) {
    let interrupted = panpipe_tests::ctrl_c();
    let server = loop {
        let interrupted = interrupted.clone();
        let told = async {
            tokio::select! {
                () = end_of_input() => {}
                () = interrupted => {}
            }
        };
        match Server::bind(name).service(Book::at(file).serve()).until(told).start() {
            Ok(server) => break server,
            // The one before lets go of the name when it begins to end.
            Err(ServeError::Bind(BindError::InUse { .. })) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    println!("ready");
    server.wait().await.expect("the server's task does not panic");
}

async fn call(name: &str, first: u64, clients: u64, file: &str) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for client in first..first + clients {
        let ledger = LedgerClient::connect(name).reconnect(Backoff::exponential());
        let ledger = ledger.await.expect("the server listens");
        for caller in client * CALLERS..(client + 1) * CALLERS {
            // The hello has passed then: from here on nothing is on its way unseen.
            ledger.note(caller << 32).await.expect("the server serves");
            let (ledger, stop) = (ledger.clone(), Arc::clone(&stop));
            tasks.push(tokio::spawn(call_on(ledger, caller << 32, stop)));
        }
    }
    println!("calling");
    end_of_input().await;
    stop.store(true, Ordering::Relaxed);
    let mut all = String::new();
    for task in tasks {
        all.push_str(&task.await.expect("no client panics"));
    }
    std::fs::write(file, all).expect("the results can be written");
}

/// Calls until it is told to stop. Gives a line for each call.
async fn call_on(ledger: LedgerClient, first: u64, stop: Arc<AtomicBool>) -> String {
    let mut lines = format!("{first} note ok\n");
    for number in first + 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (what, result) = match number % 2 {
            0 => ("note", ledger.note(number).await),
            _ => ("book", ledger.book(number).await),
        };
        let outcome = match result {
            Ok(_) => "ok".to_owned(),
            Err(CallError::Disconnected { sent }) => format!("sent={sent}"),
            Err(other) => format!("{other:?}"),
        };
        lines.push_str(&format!("{number} {what} {outcome}\n"));
    }
    lines
}
