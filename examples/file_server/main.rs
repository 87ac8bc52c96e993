//! A server that reads files as its clients: the system decides what each may read.
//!
//! `cargo run --example file_server` shows it with two users, if it is run as root;
//! else with one. `file_server serve NAME` and `file_server read UID NAME FILE` do the
//! same by hand.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use panpipe::{Access, CallError, ImpersonateError, OpenError, PathOpener, PipeName, Server};
use serde::{Deserialize, Serialize};

/// Reads files for whoever may read them.
#[panpipe::service]
pub trait Files {
    /// The contents of a file.
    async fn read(&self, path: PathBuf) -> Result<String, ReadError>;
}

/// Why a file was not read.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
pub enum ReadError {
    /// The caller may not.
    #[error("you are {who}, and you may not read {}", path.display())]
    Denied {
        /// Who asked.
        who: String,
        /// For which file.
        path: PathBuf,
    },
    /// Nobody could.
    #[error("{} cannot be read: {why}", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The server cannot act as this caller.
    #[error("this server cannot read anything as you: {0}")]
    NotAsYou(String),
}

struct Disk;

/// The most that is read of a file.
const MOST: u64 = 1 << 20;

/// Reads a file by a path that the caller has named. The thread has the caller's user, group
/// and groups, and none of root's rights. `std::fs` would still open the server's own
/// `/proc/self/maps` or `/dev/tty` here: the opener refuses what is no regular file.
fn read_file(path: &Path) -> Result<String, OpenError> {
    let file = PathOpener::new().open(path)?;
    let mut text = String::new();
    file.take(MOST)
        .read_to_string(&mut text)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    Ok(text)
}

impl Files for Disk {
    async fn read(&self, path: PathBuf) -> Result<String, ReadError> {
        let who = panpipe::call::peer();
        let (file, asked) = (path.clone(), path.clone());
        let read = panpipe::call::impersonate(move || read_file(&file)).await;
        let outcome = match read {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ReadError::Denied { who: who.to_string(), path })
            }
            Ok(Err(error)) => Err(ReadError::Failed { path, why: error.to_string() }),
            Err(error @ ImpersonateError::NotPermitted { .. }) => Err(ReadError::NotAsYou(error.to_string())),
            Err(error) => Err(ReadError::Failed { path, why: error.to_string() }),
        };
        let word = if outcome.is_ok() { "reads" } else { "does not get" };
        println!("server: {who} {word} {}", asked.display());
        outcome
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [] => show().await,
        ["serve", name] => serve(name).await,
        ["read", uid, name, file] => read(uid, name, file).await,
        _ => Err("file_server [serve NAME | read UID NAME FILE]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Anybody may ask; what they get is the system's to decide.
fn server(name: &str) -> Server {
    Server::bind(name).allow(Access::anyone()).service(Disk.serve())
}

async fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    println!("serving {name}, end with ctrl-c");
    let ctrl_c = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(server(name).until(ctrl_c).serve().await?)
}

/// Asks the server of the user `uid`.
async fn read(uid: &str, name: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let name = PipeName::of_user(uid.parse()?, name)?;
    let files = FilesClient::connect(name).wait(Duration::from_secs(10)).await?;
    match files.read(file.into()).await {
        Ok(text) => println!("{}", text.trim_end()),
        Err(CallError::App(error)) => return Err(error.into()),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

/// The name that the show is given under.
const NAME: &str = "panpipe.example.file_server";
/// A user of no rights, and its group; no account is needed.
const STRANGER: u32 = 54_321;

async fn show() -> Result<(), Box<dyn Error>> {
    let stage = Stage::set()?;
    let server = server(NAME).start()?;
    let own = stage.reads(None, &stage.own)?;
    println!("the server's own user, its own file: {own}");
    if stage.is_root {
        let theirs = stage.reads(Some(STRANGER), &stage.theirs)?;
        println!("user {STRANGER}, its own file:       {theirs}");
        let denied = stage.reads(Some(STRANGER), &stage.own)?;
        println!("user {STRANGER}, root's file:        {denied}");
        let servers = stage.reads(Some(STRANGER), Path::new("/proc/self/maps"))?;
        println!("user {STRANGER}, the server's maps:  {servers}");
        let is_right = theirs.contains("the stranger's")
            && denied.contains("may not read")
            && servers.contains("may not read");
        if !is_right {
            return Err("that is not what the system should have decided".into());
        }
    } else {
        println!("!! SKIPPED: a second user; only root can be somebody else");
    }
    server.shutdown().await?;
    Ok(())
}

/// Two files, each its owner's alone, and this program where anybody can run it.
struct Stage {
    folder: PathBuf,
    program: PathBuf,
    own: PathBuf,
    theirs: PathBuf,
    is_root: bool,
    uid: u32,
}

impl Stage {
    fn set() -> Result<Stage, Box<dyn Error>> {
        let uid = panpipe::Peer::this_process().uid.ok_or("this example needs the users of Unix")?;
        let folder = env::temp_dir().join(format!("panpipe-file-server-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let inside = |name: &str| folder.join(name);
        let (program, own, theirs) = (inside("file_server"), inside("servers.txt"), inside("strangers.txt"));
        let stage = Stage { folder: folder.clone(), program, own, theirs, is_root: uid == 0, uid };
        fs::copy(env::current_exe()?, &stage.program)?;
        fs::write(&stage.own, "this is the server's\n")?;
        fs::write(&stage.theirs, "this is the stranger's\n")?;
        run("chmod", &["755", &text(&stage.folder), &text(&stage.program)])?;
        run("chmod", &["600", &text(&stage.own), &text(&stage.theirs)])?;
        if stage.is_root {
            run("chown", &[&format!("{STRANGER}:{STRANGER}"), &text(&stage.theirs)])?;
        }
        Ok(stage)
    }

    /// What a client that runs as this user is told.
    fn reads(&self, user: Option<u32>, file: &Path) -> Result<String, Box<dyn Error>> {
        let mut command = match user {
            None => Command::new(&self.program),
            // setpriv gives up everything that is root's, and runs the program then.
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
                command.arg(&self.program);
                command
            }
        };
        command.args(["read", &self.uid.to_string(), NAME]).arg(file).stdin(Stdio::null());
        Ok(String::from_utf8_lossy(&command.output()?.stdout).trim_end().to_owned())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, args: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new(program).args(args).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program} {args:?} failed").into()) }
}
