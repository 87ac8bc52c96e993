//! One run: a server and a client, which end with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use panpipe_benches::job::Work;
use panpipe_benches::memory;
use panpipe_benches::peer::Peer;
use panpipe_benches::setting::{CPU, QUICK, Setting, THREADS};

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who serves and who calls.
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
}

/// A process that ends with its run.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The one line that it prints.
    fn line(&mut self) -> Result<String, String> {
        let stdout = self.0.stdout.take().ok_or("it has printed already")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) if line.is_empty() => Err("it ended without a word".into()),
            Ok(line) => Ok(line.trim().to_owned()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err("it does not end".into()),
        }
    }
}

/// The figures of one run.
pub(crate) fn run(
    peer: Peer,
    work: Work,
    setting: Setting,
    programs: &Programs,
    place: &Path,
    quick: bool,
) -> Result<Vec<f64>, String> {
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.args([peer.name(), work.name()]).arg(place).stdin(Stdio::piped()).stdout(Stdio::piped());
        match setting {
            Setting::OneCpu => command.env(CPU, "0"),
            Setting::AllCpus => &mut command,
            Setting::ManyThreads => command.env(THREADS, "many"),
        };
        if quick {
            command.env(QUICK, "yes");
        }
        command
    };
    let start = |mut command: Command| command.spawn().map(Running).map_err(|error| error.to_string());
    let _ = std::fs::remove_file(place);
    let mut server = None;
    if !peer.is_child() && !peer.is_alone() {
        let server = server.insert(start(command(&programs.server))?);
        let line = server.line()?;
        if line != "ready" {
            return Err(format!("the server says {line:?}"));
        }
    }
    // The child of a client is not known here: its memory is not counted.
    let of_server = |count: fn(u32) -> f64| server.as_ref().map_or(f64::NAN, |server| count(server.0.id()));
    let (before, own_before) = (of_server(memory::resident), of_server(memory::own));
    let mut client = command(&programs.client);
    client.arg(&programs.server);
    let mut client = start(client)?;
    let line = client.line()?;
    let mut figures: Vec<f64> = line.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    match work {
        Work::Idle => figures = vec![(of_server(memory::own) - own_before) / 1000.0],
        Work::Connections(count) => figures.push((of_server(memory::peak) - before) / count as f64),
        Work::InFlight(_) => figures.push(of_server(memory::peak) - before),
        _ => {}
    }
    drop(client.0.stdin.take());
    let status = client.0.wait().map_err(|error| error.to_string())?;
    if status.success() && figures.len() == work.figures().len() {
        Ok(figures)
    } else {
        Err(format!("the client says {line:?} and ends with {status}"))
    }
}
