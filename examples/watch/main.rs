//! A client that only listens, and goes on listening when its server is killed and another
//! takes the name.
//!
//! There are two ways, and this shows both:
//!
//! - A subscription that is one call: `Thermometer::watch` does not return while its server
//!   lives, and is `#[idempotent]`. A client that reconnects makes such a call again by itself
//!   on the next connection.
//! - A subscription that returns: the server holds the listener. The client registers it again
//!   in its `on_reconnect` hook.
//!
//! `cargo run --example watch` starts the servers, and kills each but the last.

use std::env;
use std::error::Error;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use panpipe::{Backoff, CallError, Server};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Measures.
#[panpipe::service]
pub trait Thermometer {
    /// Tells the listener each reading, from the current one on. Returns only when the server
    /// ends. To watch twice is as good as once: the call is made again on a new connection.
    #[idempotent]
    async fn watch(&self, listener: ListenerClient);
    /// Tells the listener each alarm, from now on. Returns at once.
    async fn subscribe(&self, listener: ListenerClient);
    /// Sets the reading, and raises an alarm where it is hot.
    async fn set(&self, degrees: i32);
}

/// Learns what a thermometer has to say.
#[panpipe::service]
pub trait Listener {
    /// A reading or an alarm, in words.
    async fn tell(&self, text: String);
}

struct Measured {
    degrees: tokio::sync::watch::Sender<i32>,
    alarmed: Mutex<Vec<ListenerClient>>,
}

impl Thermometer for Measured {
    async fn watch(&self, listener: ListenerClient) {
        let mut degrees = self.degrees.subscribe();
        degrees.mark_changed();
        loop {
            tokio::select! {
                changed = degrees.changed() => if changed.is_err() { return },
                // A call that never returns must not hold up the server's end.
                () = panpipe::call::ending() => return,
            }
            let text =
                format!("process {} reads {} degrees", std::process::id(), *degrees.borrow_and_update());
            if listener.tell(text).await.is_err() {
                return;
            }
        }
    }

    async fn subscribe(&self, listener: ListenerClient) {
        self.alarmed.lock().expect("no handler panics while it holds the list").push(listener);
    }

    async fn set(&self, degrees: i32) {
        self.degrees.send_replace(degrees);
        if degrees > 30 {
            let alarmed = self.alarmed.lock().expect("no handler panics while it holds the list").clone();
            for listener in alarmed {
                // A listener that has gone is none.
                let _ =
                    listener.tell(format!("process {} alarms: {degrees} degrees", std::process::id())).await;
            }
        }
    }
}

struct Ear {
    heard: mpsc::UnboundedSender<String>,
}

impl Listener for Ear {
    async fn tell(&self, text: String) {
        let _ = self.heard.send(text);
    }
}

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["server", name, degrees] => server(name, degrees.parse()?).await,
        _ => everything().await,
    }
}

async fn server(name: &str, degrees: i32) -> Outcome {
    let told_to_end = async {
        // Ends with the process that started it.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let (degrees, alarmed) = (tokio::sync::watch::Sender::new(degrees), Mutex::default());
    let service = Measured { degrees, alarmed }.serve();
    Ok(Server::bind(name).service(service).until(told_to_end).serve().await?)
}

fn start(name: &str, degrees: i32) -> Result<Child, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["server", name, &degrees.to_string()]);
    Ok(command.stdin(Stdio::piped()).kill_on_drop(true).spawn()?)
}

async fn everything() -> Outcome {
    let name = format!("watch.{}", std::process::id());
    let mut server = start(&name, 20)?;

    let (heard, mut readings) = mpsc::unbounded_channel();
    let (alarm, mut alarms) = mpsc::unbounded_channel();
    let (registered, mut is_registered) = mpsc::unbounded_channel();
    let ear = ListenerClient::offer(Ear { heard: alarm }.serve());
    let again = ear.clone();
    let thermometer = ThermometerClient::connect(&name)
        .wait(Duration::from_secs(10))
        .reconnect(Backoff::exponential())
        .on_reconnect(move |thermometer: ThermometerClient| {
            let (ear, registered) = (again.clone(), registered.clone());
            async move {
                if thermometer.subscribe(ear).await.is_ok() {
                    let _ = registered.send(());
                }
            }
        })
        .await?;
    thermometer.subscribe(ear).await?;
    let watching = tokio::spawn(thermometer.watch(ListenerClient::offer(Ear { heard }.serve())));
    println!("watch: {}", next(&mut readings).await?);

    for degrees in [25, 35] {
        // As `kill -9` does it: nobody is told.
        let pid = server.id().unwrap_or_default();
        server.kill().await?;
        println!("process {pid} is killed");
        server = start(&name, degrees)?;
        println!("watch: {}", next(&mut readings).await?);
        is_registered.recv().await.ok_or("the hook is gone")?;
    }
    thermometer.set(41).await?;
    println!("watch: {}", next(&mut readings).await?);
    println!("subscription: {}", next(&mut alarms).await?);

    // The last server ends in order, and so does the call.
    drop(server.stdin.take());
    let ended: Result<(), CallError> = watching.await?;
    println!("watch: {ended:?}; the server: {}", server.wait().await?);
    Ok(())
}

async fn next(heard: &mut mpsc::UnboundedReceiver<String>) -> Result<String, Box<dyn Error>> {
    let text = tokio::time::timeout(Duration::from_secs(30), heard.recv()).await?;
    Ok(text.ok_or("nobody listens any more")?)
}
