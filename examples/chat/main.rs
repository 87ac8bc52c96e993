//! A chat: rooms in one process, three people in three others. The server calls
//! each of them back when somebody speaks, and one who stops listening holds
//! nobody up.
//!
//! `cargo run --example chat` starts them all and tells them what to say.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use panpipe::{SendError, Sender, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

/// Rooms that people talk in.
#[panpipe::service]
pub trait Chat {
    /// Enters a room: from now on `listener` hears what is said in it. Gives how
    /// many are in it.
    async fn join(&self, room: String, name: String, listener: ListenerClient) -> usize;
    /// Says something to everybody in a room.
    async fn say(&self, room: String, name: String, text: String);
    /// How much somebody has missed, being slow to listen.
    async fn missed(&self, room: String, name: String) -> u64;
}

/// What the server calls.
#[panpipe::service]
pub trait Listener {
    /// Somebody has said something.
    async fn hear(&self, from: String, text: String);
}

/// How many messages wait for one who is slow to listen.
const PATIENCE: usize = 16;

struct Member {
    name: String,
    words: Sender<(String, String)>,
    missed: AtomicU64,
}

#[derive(Default)]
struct Rooms {
    rooms: Mutex<HashMap<String, Vec<Member>>>,
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Member>>> {
        self.rooms.lock().expect("no handler panics while it holds the rooms")
    }
}

impl Chat for Rooms {
    async fn join(&self, room: String, name: String, listener: ListenerClient) -> usize {
        // Each member has a queue and a task of its own: nobody waits for another.
        let (words, mut queue) = panpipe::channel::<(String, String)>(PATIENCE);
        tokio::spawn(async move {
            while let Some(Ok((from, text))) = queue.next().await {
                if listener.hear(from, text).await.is_err() {
                    break;
                }
            }
        });
        let mut rooms = self.lock();
        let members = rooms.entry(room).or_default();
        members.push(Member { name, words, missed: AtomicU64::new(0) });
        members.len()
    }

    async fn say(&self, room: String, name: String, text: String) {
        if let Some(members) = self.lock().get_mut(&room) {
            // Who has gone is a member no more; who is slow misses something.
            members.retain(|member| match member.words.try_send((name.clone(), text.clone())) {
                Ok(()) => true,
                Err(SendError::Closed(_)) => false,
                Err(_) => {
                    member.missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
            });
        }
    }

    async fn missed(&self, room: String, name: String) -> u64 {
        let rooms = self.lock();
        let mut members = rooms.get(&room).into_iter().flatten();
        members.find(|member| member.name == name).map_or(0, |member| member.missed.load(Ordering::Relaxed))
    }
}

/// Prints what it hears, as long as it is awake.
struct Ear {
    name: String,
    awake: watch::Receiver<bool>,
}

impl Listener for Ear {
    async fn hear(&self, from: String, text: String) {
        // While it sleeps this call does not end, and no other comes after it.
        let _ = self.awake.clone().wait_for(|&awake| awake).await;
        println!("{} hears {from}: {text}", self.name);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => tokio::time::timeout(Duration::from_secs(50), direct()).await?,
        ["server", name] => serve(name).await,
        ["person", server, name] => person(server, name).await,
        _ => Err("chat takes no arguments".into()),
    }
}

/// Serves until standard input ends.
async fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let parent_gone = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let server = Server::bind(name).service(Rooms::default().serve()).until(parent_gone).start()?;
    println!("ready");
    Ok(server.wait().await?)
}

/// Enters the lobby and does what standard input says.
async fn person(server: &str, name: &str) -> Result<(), Box<dyn Error>> {
    let chat = ChatClient::connect(server).wait(Duration::from_secs(10)).await?;
    let (awake, sleeping) = watch::channel(true);
    let ear = ListenerClient::offer(Ear { name: name.to_owned(), awake: sleeping }.serve());
    let lobby = || "lobby".to_owned();
    let members = chat.join(lobby(), name.to_owned(), ear).await?;
    println!("{name} is in the lobby, where there are {members}");
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match order.split_once(' ') {
            Some(("say", text)) => chat.say(lobby(), name.to_owned(), text.to_owned()).await?,
            Some(("missed", who)) => {
                println!("{who} has missed {}", chat.missed(lobby(), who.to_owned()).await?);
            }
            _ => {
                awake.send_replace(order == "wake");
                println!("{name} is told to {order}");
            }
        }
    }
    Ok(())
}

/// A process of the play.
struct Actor {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    fn start(args: &[&str]) -> Result<Actor, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let orders = child.stdin.take().ok_or("its input is not piped")?;
        let stdout = child.stdout.take().ok_or("its output is not piped")?;
        Ok(Actor { child, orders, lines: BufReader::new(stdout).lines() })
    }

    async fn order(&mut self, order: &str) -> Result<(), Box<dyn Error>> {
        Ok(self.orders.write_all(format!("{order}\n").as_bytes()).await?)
    }

    /// The next line that it prints.
    async fn line(&mut self) -> Result<String, Box<dyn Error>> {
        Ok(self.lines.next_line().await?.ok_or("it has ended too early")?)
    }

    /// Waits for a line.
    async fn hears(&mut self, expected: &str) -> Result<(), Box<dyn Error>> {
        let line = self.line().await?;
        if line == expected { Ok(()) } else { Err(format!("{expected:?} was to come, not {line:?}").into()) }
    }

    /// Waits for a line, and shows it.
    async fn expect(&mut self, expected: &str) -> Result<(), Box<dyn Error>> {
        self.hears(expected).await?;
        println!("{expected}");
        Ok(())
    }

    /// Tells it to end, and waits until it has.
    async fn finish(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.orders);
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
    }
}

/// Starts everybody and has them talk. Fails if somebody does not hear what they
/// should.
async fn direct() -> Result<(), Box<dyn Error>> {
    let name = format!("example.chat.{}", std::process::id());
    let mut server = Actor::start(&["server", &name])?;
    server.line().await?;
    let mut people = Vec::new();
    for (members, who) in ["Anna", "Bert", "Cleo"].into_iter().enumerate() {
        let mut actor = Actor::start(&["person", &name, who])?;
        actor.expect(&format!("{who} is in the lobby, where there are {}", members + 1)).await?;
        people.push(actor);
    }
    let [anna, bert, cleo] = people.as_mut_slice() else { unreachable!("three have been started") };

    anna.order("say good morning").await?;
    for (who, actor) in [("Anna", &mut *anna), ("Bert", &mut *bert), ("Cleo", &mut *cleo)] {
        actor.expect(&format!("{who} hears Anna: good morning")).await?;
    }

    cleo.order("sleep").await?;
    cleo.expect("Cleo is told to sleep").await?;
    for number in 1..=50 {
        anna.order(&format!("say question {number}")).await?;
        bert.hears(&format!("Bert hears Anna: question {number}")).await?;
        bert.order(&format!("say answer {number}")).await?;
        bert.hears(&format!("Bert hears Bert: answer {number}")).await?;
        anna.hears(&format!("Anna hears Anna: question {number}")).await?;
        anna.hears(&format!("Anna hears Bert: answer {number}")).await?;
    }
    println!("Anna and Bert have heard 100 messages each, while Cleo slept");
    anna.order("missed Cleo").await?;
    let missed = anna.line().await?;
    println!("{missed}");

    cleo.order("wake").await?;
    cleo.hears("Cleo is told to wake").await?;
    let missed: usize = missed.trim_start_matches("Cleo has missed ").parse()?;
    for _ in missed..100 {
        cleo.line().await?;
    }
    println!("Cleo hears the {} messages that waited for her", 100 - missed);
    anna.order("say welcome back").await?;
    cleo.expect("Cleo hears Anna: welcome back").await?;

    for actor in people {
        actor.finish().await?;
    }
    server.finish().await
}
