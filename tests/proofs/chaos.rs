//! Proof 34: clients of every kind, servers and plugins, of which processes are killed,
//! stopped, restarted and drained without pause.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panpipe::{Backoff, CallError, Output, Plugin};
use panpipe_tests::ledger::counted;
use panpipe_tests::plug::{Adder, COOKIE, Host, PlugClient};
use panpipe_tests::process::Process;
use panpipe_tests::{PATIENCE, at_most, eventually, is_full, raw, system, unique_name};
use rustix::process::{Pid, Signal, kill_process};

const KINDS: [&str; 4] = ["reconnecting", "async", "current", "blocking"];

/// Numbers that a seed decides.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A name, its ledger, and the process that serves it.
struct Served {
    name: String,
    ledger: PathBuf,
    server: Process,
    /// Servers that still drain.
    ending: Vec<std::thread::JoinHandle<bool>>,
}

impl Served {
    fn new(what: &str, folder: &Path) -> Served {
        let (name, ledger) = (unique_name(what), folder.join(what));
        let server = serve(&name, &ledger);
        Served { name, ledger, server, ending: Vec::new() }
    }

    fn replace(&mut self, gently: bool) {
        if gently {
            let mut old = std::mem::replace(&mut self.server, start_server(&self.name, &self.ledger));
            old.signal(Signal::INT);
            self.ending.push(std::thread::spawn(move || old.wait().success()));
            self.server.wait_for("ready");
        } else {
            self.server.kill();
            self.server = serve(&self.name, &self.ledger);
        }
    }

    /// Stops the server for a moment, as a debugger or a full disk does.
    fn pause(&self, time: Duration) {
        self.server.stop();
        std::thread::sleep(time);
        self.server.signal(Signal::CONT);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A server that lives makes its socket anew when that is removed.
        self.server.kill();
        let path = raw::path_of(&self.name);
        let _ = std::fs::remove_file(path.with_file_name(format!("{}.lock", self.name)));
        let _ = std::fs::remove_file(path);
    }
}

fn start_server(name: &str, ledger: &Path) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_ledger")).args(["serve", name]).arg(ledger))
}

fn serve(name: &str, ledger: &Path) -> Process {
    let server = start_server(name, ledger);
    server.wait_for("ready");
    server
}

/// A process that calls, and where its outcomes will be.
struct Caller {
    process: Process,
    of: usize,
    outcomes: PathBuf,
}

fn caller(number: u64, of: usize, served: &Served, folder: &Path) -> Caller {
    let outcomes = folder.join(format!("outcomes{number}"));
    let kind = KINDS[number as usize % KINDS.len()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let process = Process::start(command.args([kind, &served.name, &number.to_string()]).arg(&outcomes));
    process.wait_for("calling");
    Caller { process, of, outcomes }
}

/// Calls a plugin that is killed again and again, until it is told to stop.
async fn call_plugin(plugin: &Plugin<PlugClient>, until: Instant) -> [u64; 2] {
    let (mut answered, mut failed) = (0, 0);
    while Instant::now() < until {
        let begun = Instant::now();
        match plugin.client().with_timeout(Duration::from_secs(1)).add(answered, 1).await {
            Ok(sum) => {
                assert_eq!(sum, Some(answered + 1), "a reply is another call's");
                answered += 1;
            }
            Err(CallError::Disconnected { .. } | CallError::DeadlineExceeded) => failed += 1,
            // The call to the host inside it failed, or the other way round.
            Err(other) => panic!("{other}"),
        }
        assert!(begun.elapsed() < at_most(Duration::from_secs(3)), "{:?}", begun.elapsed());
    }
    [answered, failed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proof_34_chaos_crosses_no_reply_and_bounds_every_call() {
    let seed = std::env::var("PANPIPE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1 << 40);
    println!("PANPIPE_SEED={seed}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    // One server is replaced, the other one stays and is only stopped at times.
    let mut served = ["chaos-replaced", "chaos-kept"].map(|what| Served::new(what, folder.path()));
    let start = {
        // What a server opens with its first clients stays open; their connections do not, and
        // beside load they end a moment after the clients.
        let server = served[1].server.id();
        let connections = || (system::sockets(server), system::pipes(server));
        let before = connections();
        let first = caller(1 << 20, 1, &served[1], folder.path());
        assert!(first.process.finish().success());
        eventually("the connections have ended", PATIENCE, async || connections() == before).await;
        (system::fds(server), system::threads(server))
    };
    let mut next = 0;
    let mut callers = Vec::new();
    for of in [0, 0, 0, 0, 1, 1, 1, 1] {
        callers.push(caller(next, of, &served[of], folder.path()));
        next += 1;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugin"));
    command.arg("good").stdin(Stdio::null());
    let backoff = Backoff::exponential().most(Duration::from_millis(20)).forever();
    let plugin = Plugin::spawn(command).cookie(COOKIE).offer(Adder.serve()).stderr(Output::Null);
    let plugin: Plugin<PlugClient> = plugin.restart(backoff).start().await.unwrap();

    let end = Instant::now() + if is_full() { Duration::from_secs(300) } else { Duration::from_secs(6) };
    let (mut acts, mut killed) = (BTreeMap::<&str, u32>::new(), Vec::new());
    let (calls, ()) = tokio::join!(call_plugin(&plugin, end), async {
        while Instant::now() < end {
            // How often something happens; nothing waits for it.
            tokio::time::sleep(Duration::from_millis(20 + random.below(200))).await;
            let act = match random.below(6) {
                0 => {
                    tokio::task::block_in_place(|| served[0].replace(false));
                    "server killed"
                }
                1 => {
                    tokio::task::block_in_place(|| served[0].replace(true));
                    "server drained"
                }
                act @ 2..=3 => {
                    let time = Duration::from_millis(random.below(400));
                    tokio::task::block_in_place(|| served[act as usize - 2].pause(time));
                    "server stopped"
                }
                4 => {
                    let at = random.below(callers.len() as u64) as usize;
                    let of = callers[at].of;
                    let started = caller(next, of, &served[of], folder.path());
                    let mut old = std::mem::replace(&mut callers[at], started);
                    old.process.kill();
                    killed.push(old);
                    next += 1;
                    "client killed"
                }
                _ => match plugin.client().with_timeout(Duration::from_secs(1)).pid().await {
                    Ok(pid) => {
                        // It may have ended by itself since: then there is nothing to kill.
                        let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
                        "plugin killed"
                    }
                    Err(_) => "plugin away",
                },
            };
            *acts.entry(act).or_default() += 1;
        }
    });
    let mut outcomes = BTreeMap::<String, u64>::new();
    let mut counts = served.each_ref().map(|served| counted(&served.ledger));
    for Caller { process, of, outcomes: file } in callers {
        let (status, _) = process.finish_with_lines();
        assert!(status.success(), "a client ends well: {status}");
        // What was called until now.
        counts[of] = counted(&served[of].ledger);
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let [number, method, outcome] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let run = counts[of].get(&number.parse().unwrap()).copied().unwrap_or(0);
            let holds = match (method, outcome) {
                ("note", "ok") => run >= 1,
                ("book", "ok") => run == 1,
                ("note", "sent=true" | "deadline") => true,
                ("book", "sent=true" | "deadline") => run <= 1,
                ("note" | "book", "sent=false" | "refused") => run == 0,
                _ => false,
            };
            assert!(holds, "{line}, and it was run {run} times");
            *outcomes.entry(format!("{method} {outcome}")).or_default() += 1;
        }
    }
    plugin.shutdown(Duration::from_secs(2)).await.unwrap();
    for served in &mut served {
        for ended in served.ending.drain(..) {
            assert!(ended.join().unwrap(), "a server that drains ends well");
        }
    }
    let server = served[1].server.id();
    eventually("the server that stayed has no more than at the start", PATIENCE, async || {
        system::fds(server) <= start.0 && system::threads(server) <= start.1
    })
    .await;
    println!("{acts:?}, plugin calls [answered, failed]: {calls:?}, {outcomes:?}");
    assert!(calls[0] > 0 && outcomes["book ok"] > 0);
}
