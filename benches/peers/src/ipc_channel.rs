//! ipc-channel, which is blocking: channels between processes, without calls.
//!
//! A call is a message on one channel and another on a second. They are its channels
//! for bytes, which pass no serde; a typed one with a `Vec<u8>` takes it element by
//! element. Where messages are large they are its shared memory, which the server sends
//! back as it is, and which is half as quick again; nearly all of its time goes into the
//! pages that the system has to make for each message. The server has a thread for each
//! connection, as there is no waiting on many channels for bytes. Many calls at once are
//! one thread's, which is quicker than a thread and two channels for each.
//!
//! The processes find each other by its one-shot server, whose name stands in the file
//! that others have their socket at. It takes one client: the others, and this one's
//! further connections, send their channels over the first. So a connection's time is
//! that of two channels and of sending them.

use std::fs;
use std::sync::{Mutex, OnceLock};
use std::thread;

use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory,
    bytes_channel, channel,
};
use panpipe_benches::blocking_work::BlockingEcho;
use panpipe_benches::job::{Work, ready};

/// A connection's ends for the server: those for bytes, and those for shared memory
/// where the work has large messages.
type Ends =
    (IpcBytesReceiver, IpcBytesSender, Option<(IpcReceiver<IpcSharedMemory>, IpcSender<IpcSharedMemory>)>);

/// A request of so many bytes asks for a stream of items, and says of which size.
const ITEMS: usize = 8;

/// Serves until the process is killed.
pub fn serve(path: &str) {
    let (server, name) = IpcOneShotServer::<IpcSender<IpcSender<Ends>>>::new().expect("it can listen");
    fs::write(path, name).expect("the path is free");
    ready();
    let (_, bootstrap) = server.accept().expect("a client comes");
    let (sender, connections) = channel::<Ends>().expect("there are channels");
    bootstrap.send(sender).expect("the client waits");
    while let Ok((requests, replies, large)) = connections.recv() {
        thread::spawn(move || {
            if let Some((requests, replies)) = large {
                while let Ok(request) = requests.recv() {
                    if replies.send(request).is_err() {
                        return;
                    }
                }
            }
            while let Ok(request) = requests.recv() {
                let sent = match <[u8; ITEMS]>::try_from(request.as_slice()) {
                    Ok(size) => stream(&replies, usize::from_le_bytes(size)),
                    Err(_) => replies.send(&request).is_ok(),
                };
                if !sent {
                    return;
                }
            }
        });
    }
}

fn stream(replies: &IpcBytesSender, size: usize) -> bool {
    while replies.send(&vec![7; size]).is_ok() {}
    false
}

/// A caller with two channels.
pub struct Connection {
    requests: IpcBytesSender,
    replies: IpcBytesReceiver,
    large: Option<(IpcSender<IpcSharedMemory>, IpcReceiver<IpcSharedMemory>)>,
}

/// Bytes, wherever they are.
pub enum Payload {
    /// In this process alone.
    Own(Vec<u8>),
    /// Where the other has them as well.
    Shared(IpcSharedMemory),
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::Own(bytes)
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        match self {
            Payload::Own(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        }
    }
}

impl BlockingEcho for Connection {
    type Payload = Payload;

    fn echo(&mut self, payload: Payload) -> Payload {
        if let Some((requests, replies)) = &self.large {
            requests.send(IpcSharedMemory::from_bytes(payload.as_ref())).expect("the server reads");
            return Payload::Shared(replies.recv().expect("the server answers"));
        }
        self.requests.send(payload.as_ref()).expect("the server reads");
        Payload::Own(self.replies.recv().expect("the server answers"))
    }

    fn another(&self) -> Connection {
        connect("", Work::Callers)
    }

    fn echo_at_once(&mut self, calls: usize) -> bool {
        for _ in 0..calls {
            self.requests.send(&[7; 64]).expect("the server reads");
        }
        for _ in 0..calls {
            assert_eq!(self.replies.recv().expect("the server answers").len(), 64);
        }
        true
    }

    fn items(&mut self, size: usize) -> Box<dyn Iterator<Item = usize>> {
        let Connection { requests, replies, .. } = connect("", Work::Callers);
        requests.send(&size.to_le_bytes()).expect("the server reads");
        Box::new(std::iter::from_fn(move || Some(replies.recv().expect("the server sends on").len())))
    }
}

/// A client of [`serve`].
pub fn connect(path: &str, work: Work) -> Connection {
    static CONNECTIONS: OnceLock<Mutex<IpcSender<Ends>>> = OnceLock::new();
    let connections = CONNECTIONS.get_or_init(|| {
        let name = fs::read_to_string(path).expect("the server has written its name");
        let server = IpcSender::connect(name).expect("the server listens");
        let (bootstrap, answer) = channel().expect("there are channels");
        server.send(bootstrap).expect("the server waits");
        Mutex::new(answer.recv().expect("the server answers"))
    });
    let (requests, request_receiver) = bytes_channel().expect("there are channels");
    let (reply_sender, replies) = bytes_channel().expect("there are channels");
    let (large, large_ends) = if work == Work::Bulk {
        let (requests, request_receiver) = channel().expect("there are channels");
        let (reply_sender, replies) = channel().expect("there are channels");
        (Some((requests, replies)), Some((request_receiver, reply_sender)))
    } else {
        (None, None)
    };
    let connections = connections.lock().expect("nobody panics with it");
    connections.send((request_receiver, reply_sender, large_ends)).expect("the server takes connections");
    Connection { requests, replies, large }
}
