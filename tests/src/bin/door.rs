//! A pipe below the level of calls, for tests of who may come in:
//!
//! - `door serve NAME ACCESS [umask=OCTAL] [greet] [twice] [fork]`: answers each note; with
//!   `greet` says something unasked, with `twice` tries to have the name again, with `fork`
//!   has a forked child drop its copy of the listener. Prints `ready`; ends with its standard
//!   input.
//! - `door connect NAME [TRUST]`: sends a note; prints what came of it.
//! - `door swing NAME ACCESS`: binds and drops the name until its standard input ends,
//!   with an umask that takes nothing away; prints a line each hundred times.
//! - `door knock PATH TIMES`: connects, and prints how that went.
//! - `door manage PATH,… ARGS…`: a service manager: listens at the paths and passes
//!   the sockets to `door ARGS…`, which each line that it reads ends or starts anew.
//!
//! A name is `user:UID:NAME`, `dotnet:NAME`, or what it says. An access is `same`,
//! `anyone`, `uids:1,2`, `gids:1`, `when:UID`, `when_async:UID`, `panic`, or several
//! of them with `+` between. Who decodes a note prints `decoded`.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use futures::{SinkExt, StreamExt};
use panpipe_tests::sys;
use panpipe_transport::codec::Bincode;
use panpipe_transport::{Access, Listener, NameError, PipeName, PipeStream, Transport, connect};
use rustix::fs::Mode;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

/// What is said. Whoever decodes one cannot hide it.
#[derive(Debug, Serialize)]
struct Note(String);

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        println!("decoded");
        String::deserialize(from).map(Note)
    }
}

type Notes<Io> = Transport<Io, Note, Note, Bincode>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", name, access, ref settings @ ..] => in_runtime(serve(name, access, settings)),
        ["connect", name] => in_runtime(call(name, None)),
        ["connect", name, trust] => in_runtime(call(name, Some(trust))),
        ["swing", name, access] => in_runtime(swing(name, access)),
        ["knock", path, times] => knock(path, times.parse().expect("a number")),
        ["manage", paths, ref args @ ..] => manage(paths, args),
        _ => panic!("{args:?} is nothing that can be done"),
    }
}

fn in_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("there is an event loop").block_on(work);
}

async fn serve(name: &str, access: &str, settings: &[&str]) {
    for setting in settings {
        if let Some(mask) = setting.strip_prefix("umask=") {
            let mask = u32::from_str_radix(mask, 8).expect("an octal number");
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
    }
    let greet = settings.contains(&"greet");
    let listener =
        match name_of(name).map_err(Into::into).and_then(|it| Listener::bind_for(it, access_of(access))) {
            Ok(listener) => listener,
            Err(error) => return println!("{error}"),
        };
    if settings.contains(&"fork") && sys::places::is_forked_child() {
        drop(listener);
        std::process::exit(0);
    }
    if settings.contains(&"twice") {
        match Listener::bind(listener.name()) {
            Ok(_) => println!("twice"),
            Err(error) => println!("{error}"),
        }
    }
    println!("ready");
    let told = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    tokio::pin!(told);
    let mut answers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.expect("clients can be accepted"),
            () = &mut told => break,
        };
        answers.spawn(answer(accepted, greet));
    }
    let mut retired = listener.retire();
    while let Some(accepted) = retired.accept().await.expect("clients can be accepted") {
        answers.spawn(answer(accepted, greet));
    }
    answers.join_all().await;
}

async fn answer(stream: PipeStream, greet: bool) {
    let peer = stream.peer();
    if greet {
        // What is heard is counted, and not decoded.
        let (mut read, write) = stream.into_split();
        let mut notes = Notes::new(tokio::io::join(tokio::io::empty(), write), Bincode);
        let _ = notes.send(Note("welcome".into())).await;
        let mut heard = Vec::new();
        let _ = read.read_to_end(&mut heard).await;
        println!("heard {} bytes of user {}", heard.len(), peer.uid.expect("it is told"));
        return;
    }
    let mut notes = Notes::new(stream, Bincode);
    while let Some(Ok(Note(said))) = notes.next().await {
        let _ = notes.send(Note(format!("{said} to you, {peer}"))).await;
    }
}

async fn call(name: &str, trust: Option<&str>) {
    let name = match name_of(name) {
        Ok(name) => name,
        Err(error) => return println!("{error}"),
    };
    let connecting = match trust {
        Some(trust) => connect(name).trust(access_of(trust)),
        None => connect(name),
    };
    let stream = match connecting.await {
        Ok(stream) => stream,
        Err(error) => return println!("{error}"),
    };
    let server = stream.peer();
    let mut notes = Notes::new(stream, Bincode);
    let said = notes.send(Note("good day".into())).await;
    match notes.next().await {
        Some(Ok(Note(answer))) => println!("{answer}, from {server}"),
        _ => println!("turned away, {}", if said.is_ok() { "heard or not" } else { "unheard" }),
    }
}

async fn swing(name: &str, access: &str) {
    rustix::process::umask(Mode::empty());
    println!("ready");
    let told = std::thread::spawn(|| io::copy(&mut io::stdin(), &mut io::sink()));
    let mut times = 0;
    while !told.is_finished() {
        drop(Listener::bind_for(name, access_of(access)).expect("nobody else has the name"));
        times += 1;
        if times % 100 == 0 {
            println!("{times}");
        }
    }
}

fn knock(path: &str, times: u32) {
    let (mut inside, mut denied, mut absent) = (0, 0, 0);
    for _ in 0..times {
        match UnixStream::connect(path).map_err(|error| error.kind()) {
            Ok(_) => inside += 1,
            Err(ErrorKind::PermissionDenied) => denied += 1,
            Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => absent += 1,
            Err(other) => panic!("{other}"),
        }
    }
    println!("{inside} {denied} {absent}");
}

fn manage(paths: &str, args: &[&str]) {
    let sockets: Vec<_> =
        paths.split(',').map(|path| UnixListener::bind(path).expect("it is free")).collect();
    for (socket, number) in sockets.iter().zip(3..) {
        // This program has just begun: nothing else has the numbers that the first
        // sockets of a server are to have.
        assert_eq!(socket.as_raw_fd(), number);
        fcntl_setfd(socket, FdFlags::empty()).expect("it is open");
    }
    let start = || {
        let program = std::env::current_exe().expect("it has a path");
        // A shell, whose number the program keeps, can say the number.
        Command::new("sh")
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(program)
            .args(args)
            .env("LISTEN_FDS", sockets.len().to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell")
    };
    let end = |mut server: Child| {
        drop(server.stdin.take());
        assert!(server.wait().expect("it is ours").success());
        println!("ended {}", server.id());
    };
    let mut running = Some(start());
    for _ in io::stdin().lines() {
        match running.take() {
            Some(server) => end(server),
            None => running = Some(start()),
        }
    }
    running.map(end);
}

fn name_of(text: &str) -> Result<PipeName, NameError> {
    match text.split_once(':') {
        Some(("dotnet", name)) => PipeName::dotnet(name),
        Some(("user", rest)) => {
            let (uid, name) = rest.split_once(':').expect("user:UID:NAME");
            PipeName::of_user(uid.parse().expect("a number"), name)
        }
        _ => PipeName::new(text),
    }
}

fn access_of(text: &str) -> Access {
    let mut all = text.split('+').map(|one| {
        let (kind, numbers) = one.split_once(':').unwrap_or((one, ""));
        let mut numbers = numbers.split(',').filter_map(|number| number.parse::<u32>().ok());
        match kind {
            "same" => Access::same_user(),
            "anyone" => Access::anyone(),
            "uids" => Access::uids(numbers),
            "gids" => Access::gids(numbers),
            "when" => {
                let uid = numbers.next();
                Access::when(move |peer| peer.uid == uid)
            }
            "when_async" => {
                let uid = numbers.next();
                Access::when_async(move |peer| async move {
                    tokio::task::yield_now().await;
                    peer.uid == uid
                })
            }
            "panic" => Access::when(|_| panic!("a rule of a test")),
            other => panic!("{other} is no access"),
        }
    });
    let first = all.next().expect("there is one");
    all.fold(first, Access::or)
}
