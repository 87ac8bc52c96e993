//! Pipes with a name: taking the name, accepting, connecting.

use std::future::{Future, poll_fn};
use std::io;
use std::os::windows::io::AsRawHandle;
use std::task::Poll;

use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};
use tokio::sync::Mutex;
use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY, HANDLE};
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};
use windows_sys::core::BOOL;

use super::half::{Pipe, of_pipe};
use super::security::{Security, owner_of, this_user};
use super::{Connected, Place, ReadHalf, WriteHalf};
use crate::access::Reach;
use crate::error::{BindError, ConnectError};
use crate::limits::WAITING_INSTANCES;
use crate::peer::Peer;

/// A name, and the instances of it that wait for clients, who find the oldest first.
#[derive(Debug)]
pub(crate) struct NamedListener {
    place: Place,
    reach: Reach,
    waiting: Mutex<Vec<NamedPipeServer>>,
}

impl NamedListener {
    pub(crate) fn bind(place: &Place, reach: Reach) -> Result<Self, BindError> {
        let path = || place.to_string();
        let io = |source| BindError::Io { path: path(), source };
        let first = create(place, reach, true).map_err(|source| match code(&source) {
            // The first instance is refused where another has the name.
            Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY) => BindError::InUse { path: path(), pid: None },
            _ => io(source),
        })?;
        let mut waiting = vec![first];
        while waiting.len() < WAITING_INSTANCES {
            waiting.push(create(place, reach, false).map_err(io)?);
        }
        Ok(NamedListener { place: place.clone(), reach, waiting: Mutex::new(waiting) })
    }

    pub(crate) async fn accept(&self) -> io::Result<(ReadHalf, WriteHalf, Peer)> {
        let mut waiting = self.waiting.lock().await;
        let (index, outcome) = first_connected(&waiting).await;
        // Before one goes: where there can be no other its client waits on.
        let next = create(&self.place, self.reach, false)?;
        waiting.push(next);
        let connected = waiting.remove(index);
        outcome?;
        let peer = Peer {
            pid: peer_id(&connected, GetNamedPipeClientProcessId),
            uid: None,
            gid: None,
            connected: Connected::NOTHING,
        };
        let (read, write) = of_pipe(Pipe::Server(connected));
        Ok((read, write, peer))
    }

    /// Frees the name, as far as its connections let it be free. Who has connected to
    /// an instance that waits is turned away with it.
    pub(crate) fn retire(self) -> RetiredListener {
        RetiredListener
    }
}

/// Nobody waits here: a client waits at an instance of the pipe, and as long as there
/// is one the name is taken.
#[derive(Debug)]
pub(crate) struct RetiredListener;

impl RetiredListener {
    pub(crate) fn accept(&mut self) -> io::Result<Option<(ReadHalf, WriteHalf, Peer)>> {
        Ok(None)
    }
}

/// Waits until one of the instances has a client, or has failed.
async fn first_connected(waiting: &[NamedPipeServer]) -> (usize, io::Result<()>) {
    let mut connects: Vec<_> = waiting.iter().map(|instance| Box::pin(instance.connect())).collect();
    poll_fn(|cx| {
        for (index, connect) in connects.iter_mut().enumerate() {
            if let Poll::Ready(outcome) = connect.as_mut().poll(cx) {
                return Poll::Ready((index, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

fn create(place: &Place, reach: Reach, first: bool) -> io::Result<NamedPipeServer> {
    let security = match reach {
        // There are no groups of this kind.
        Reach::Owner | Reach::Group(_) => Security::owner_only()?,
        Reach::Everyone => Security::authenticated_users()?,
    };
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    // SAFETY: the attributes and their descriptor live until the call is over,
    // and the system copies them.
    unsafe { options.create_with_security_attributes_raw(place.path(), security.as_raw()) }
}

/// Tries once to connect; never waits. With `expect_owner` the server has to be this
/// user's.
pub(crate) fn connect(
    place: &Place,
    expect_owner: bool,
) -> Result<(ReadHalf, WriteHalf, Peer), ConnectError> {
    let path = || place.to_string();
    // The server may learn who this is, and may not act in its name.
    let opened = ClientOptions::new().security_qos_flags(SECURITY_IDENTIFICATION).open(place.path());
    let pipe = opened.map_err(|source| match code(&source) {
        Some(ERROR_FILE_NOT_FOUND) => ConnectError::NotFound { path: path(), hint: "" },
        Some(ERROR_PIPE_BUSY) => ConnectError::Busy { path: path() },
        Some(ERROR_ACCESS_DENIED) => {
            ConnectError::Denied { path: path(), why: "its server has not opened it to others".to_owned() }
        }
        _ => ConnectError::Io { path: path(), source },
    })?;
    // Anybody can take a name that is free: who serves it is asked before a byte is sent.
    if expect_owner {
        check_owner(&pipe).map_err(|source| ConnectError::Io { path: path(), source })?;
    }
    let peer = Peer {
        pid: peer_id(&pipe, GetNamedPipeServerProcessId),
        uid: None,
        gid: None,
        connected: Connected::NOTHING,
    };
    let (read, write) = of_pipe(Pipe::Client(pipe));
    Ok((read, write, peer))
}

fn check_owner(pipe: &NamedPipeClient) -> io::Result<()> {
    let (ours, theirs) = (this_user()?, owner_of(pipe)?);
    if ours == theirs {
        return Ok(());
    }
    let why =
        format!("the server belongs to user {theirs}, not to this user, {ours}; nothing was sent to it");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// The process at the other end, if the system tells.
fn peer_id(pipe: &impl AsRawHandle, ask: unsafe extern "system" fn(HANDLE, *mut u32) -> BOOL) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open as long as `pipe` is borrowed, and the place for
    // the answer is this frame's.
    let told = unsafe { ask(pipe.as_raw_handle(), &mut pid) };
    (told != 0).then_some(pid)
}

fn code(error: &io::Error) -> Option<u32> {
    error.raw_os_error().map(|code| code as u32)
}
