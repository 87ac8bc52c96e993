//! Who is at the other end: what can be asked of it, and what no longer.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use panpipe::{Peer, ServiceClient};
use panpipe_tests::probe::{Probe, Prober};
use panpipe_tests::process::Process;
use panpipe_tests::worker::WorkerClient;
use panpipe_tests::{PATIENCE, eventually};
use panpipe_transport::{Listener, PipeStream};

use crate::common::{child_command, client, server};

fn sorted(groups: io::Result<Vec<u32>>) -> Vec<u32> {
    let mut groups = groups.unwrap();
    groups.sort_unstable();
    groups
}

#[tokio::test]
async fn a_client_asks_who_its_server_is_until_it_has_gone() {
    let (mut server, name) = server(&[]);
    let probe = client(&name).await;
    let connection = panpipe::connect(&name).await.unwrap();
    for peer in [probe.peer(), connection.peer()] {
        assert_eq!(peer.executable().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_server")));
        let name = |peer: &Peer| peer.user_name().map_err(|error| error.to_string());
        assert_eq!(name(&peer), name(&Peer::this_process()));
        assert_eq!(sorted(peer.groups()), sorted(Peer::this_process().groups()));
        assert!(peer.is_running().unwrap());
    }
    let peer = probe.peer();
    server.kill();
    eventually("the connection has ended", PATIENCE, async || {
        peer.is_running().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected)
    })
    .await;
    assert!(peer.executable().unwrap_err().to_string().contains("the connection has ended"));
}

/// A client in a process of its own that has connected, and what the server has of it.
async fn dialed() -> (tempfile::TempDir, Process, PipeStream) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let listener = Listener::bind(path.to_str().unwrap()).unwrap();
    let client = Process::start(Command::new(env!("CARGO_BIN_EXE_keeper")).arg("dial").arg(&path));
    client.wait_for("connected");
    let stream = listener.accept().await.unwrap();
    assert_eq!(stream.peer().pid, Some(client.id()));
    assert_eq!(stream.peer().executable().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_keeper")));
    (folder, client, stream)
}

fn cat() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap();
    let cat = std::env::split_paths(&folders).map(|folder| folder.join("cat")).find(|cat| cat.exists());
    fs::canonicalize(cat.unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_that_becomes_another_program_is_seen_as_that_one() {
    let (_folder, mut client, stream) = dialed().await;
    let peer = stream.peer();
    client.tell("exec");
    let cat = cat();
    eventually("it is another program", PATIENCE, async || peer.executable().unwrap() == cat).await;
    assert!(peer.is_running().unwrap());
    client.kill();
    // The stream is still here, and tells of no other process.
    assert!(!peer.is_running().unwrap());
    assert_eq!(peer.executable().unwrap_err().kind(), io::ErrorKind::NotFound);
    drop(stream);
    assert_eq!(peer.is_running().unwrap_err().kind(), io::ErrorKind::NotConnected);
}

/// Starts a process with this pid, which no other has; `None` if this user cannot.
fn with_pid(pid: u32) -> Option<Process> {
    for _ in 0..10_000 {
        // The kernel gives the next one, unless another process is quicker.
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let process = Process::start(&mut Command::new("cat"));
        if process.id() == pid {
            return Some(process);
        }
    }
    panic!("the pid {pid} does not come again");
}

#[tokio::test]
async fn a_process_that_gets_the_pid_of_a_client_is_not_taken_for_it() {
    let (_folder, mut client, stream) = dialed().await;
    let peer = stream.peer();
    // The connection lives on in another process's hands.
    client.tell("hand over");
    assert!(client.wait().success());
    assert!(!peer.is_running().unwrap());
    let Some(other) = with_pid(client.id()) else {
        eprintln!("SKIPPED: a pid cannot be given again without being root");
        return;
    };
    let exe = format!("/proc/{}/exe", peer.pid.unwrap());
    eventually("it runs", PATIENCE, async || fs::read_link(&exe).is_ok_and(|exe| exe == cat())).await;
    assert_eq!(peer.pid, Some(other.id()));
    assert!(!peer.is_running().unwrap());
    let error = peer.executable().unwrap_err();
    assert!(error.to_string().contains("has ended, and its pid may be another's"), "{error}");
    // What was of the connection stays true.
    assert_eq!(sorted(peer.groups()), sorted(Peer::this_process().groups()));
}

#[tokio::test]
async fn a_child_is_asked_by_its_parent() {
    let command = panpipe::spawn(child_command("worker"));
    let child = command.offer(Prober::default().serve()).start::<WorkerClient>().unwrap();
    let peer = child.client().peer();
    assert_eq!(peer, Peer::child(child.id().unwrap()));
    assert_eq!(peer.uid, Peer::this_process().uid);
    assert_eq!(peer.executable().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_child")));
    assert!(peer.is_running().unwrap());
    assert!(peer.groups().unwrap_err().to_string().contains("anonymous pipe"));
    assert!(child.shutdown(PATIENCE).await.unwrap().success());
    assert!(!peer.is_running().unwrap());
}

#[test]
fn a_child_of_another_user_is_known_as_that_user() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: a process of another user cannot be run without being root");
        return;
    }
    let mut cat = Command::new("cat").uid(50_001).gid(50_101).stdin(Stdio::piped()).spawn().unwrap();
    let peer = Peer::child(cat.id());
    assert_eq!((peer.uid, peer.gid), (Some(50_001), Some(50_101)));
    let error = peer.user_name().unwrap_err();
    assert!(error.to_string().contains("user 50001 has no name"), "{error}");
    drop(cat.stdin.take());
    assert!(cat.wait().unwrap().success());
}

#[test]
fn an_unknown_peer_is_an_error_in_words() {
    let peer = Peer::unknown();
    for error in [
        peer.groups().map(|_| ()).unwrap_err(),
        peer.user_name().map(|_| ()).unwrap_err(),
        peer.executable().map(|_| ()).unwrap_err(),
        peer.is_running().map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("known"), "{error}");
    }
}
