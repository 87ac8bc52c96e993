//! Raw peers whose last bytes and end of the stream arrive together.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::raw::{self, Frame, MAGIC, Raw, kind};

/// Calls before the end. The inline read and the readiness mask of a multi-thread runtime begin
/// after a few of them.
pub const CALLS_BEFORE: u64 = 12;

/// The sum that the peers answer.
pub const SUM: u64 = 9;

/// The reply to `add`.
fn reply(id: u64) -> Vec<u8> {
    raw::frame(kind::REPLY, id, &[&[0][..], &SUM.to_le_bytes()].concat())
}

fn is_add(frame: &Frame) -> bool {
    frame.kind == kind::CALL && frame.body[..8] == raw::method("add(u64,u64)->u64").to_le_bytes()
}

fn next(read: &mut impl Read) -> Frame {
    raw::read_frame(read).expect("a frame can be read").expect("a frame comes before the end")
}

/// Answers calls of `add` until one comes behind a `hang`, which is left unanswered. Returns
/// directly after the last write, for the caller to close the stream.
pub fn answer(read: &mut impl Read, write: &mut impl Write) {
    let mut hanging = false;
    loop {
        let call = next(read);
        if is_add(&call) {
            let _ = write.write_all(&reply(call.id));
            if hanging {
                return;
            }
        } else if call.kind == kind::CALL {
            hanging = true;
        }
    }
}

/// Makes calls of `add`, then a one-way call with half a frame behind it. Returns directly after
/// that write, for the caller to close the stream.
pub fn call(read: &mut impl Read, write: &mut impl Write) {
    let call = |id| raw::call(id, "add(u64,u64)->u64", 0, &[0; 16]);
    for _ in 0..CALLS_BEFORE {
        write.write_all(&call(0)).expect("the other side reads");
        while next(read).kind != kind::REPLY {}
    }
    let last = [&raw::oneway("oneway note(u64)", &7u64.to_le_bytes())[..], &call(0)[..9]].concat();
    write.write_all(&last).expect("the other side reads");
}

/// Serves a client that has connected by a socket, to the end.
pub fn answer_by_socket(raw: Raw) {
    let socket = raw.socket;
    greet(&mut &socket, &mut &socket, raw::server_hello("Probe"), 0);
    answer(&mut &socket, &mut &socket);
}

/// The same by a bypass, from the moment on when the client has asked for one.
pub fn answer_by_bypass(raw: Raw) {
    let socket = raw.socket;
    greet(&mut &socket, &mut &socket, raw::server_hello("Probe"), 2);
    let mut pipes = None;
    loop {
        let frame = next(&mut &socket);
        match frame.kind {
            kind::CALL => (&socket).write_all(&reply(frame.id)).expect("the client reads"),
            kind::ASK => {
                let (read, their_write) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
                let (their_read, write) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
                let bypass = raw::frame(kind::BYPASS, 0, &[]);
                raw::send_with(&socket, &bypass, &[their_read.as_fd(), their_write.as_fd()]);
                pipes = Some((File::from(read), File::from(write)));
            }
            kind::SWITCH => break,
            other => panic!("a frame of kind {other} came"),
        }
    }
    let (read, write) = pipes.as_mut().expect("the client switches to what it has received");
    (&socket).write_all(&raw::frame(kind::SWITCH, 0, &[])).expect("the client reads");
    answer(read, write);
}

/// Answers the magic and the hello of a client with a hello of such features.
pub fn greet(read: &mut impl Read, write: &mut impl Write, mut hello: Vec<u8>, features: u8) {
    let mut magic = [0; 8];
    read.read_exact(&mut magic).expect("the client sends its magic");
    assert_eq!(&magic, MAGIC);
    assert_eq!(next(read).kind, kind::HELLO);
    // Behind the frame's head, kind, port and id, the protocol and the codec.
    hello[9] = features;
    write.write_all(&[&MAGIC[..], &hello].concat()).expect("the client reads");
}

/// Calls a server by a socket, to the end.
pub fn call_by_socket(name: &str) {
    let socket: UnixStream = Raw::greeted(name, "Probe").socket;
    call(&mut &socket, &mut &socket);
}

/// The same by a bypass.
pub fn call_by_bypass(name: &str) {
    let mut raw = Raw::greeted(name, "Probe");
    raw.send(&raw::frame(kind::ASK, 0, &[]));
    let (_, mut fds) = raw.receive_with();
    let (write, read) = (fds.pop().expect("a writing end came"), fds.pop().expect("a reading end came"));
    for end in [&read, &write] {
        rustix::io::ioctl_fionbio(end, false).expect("a pipe can be set to block");
    }
    raw.send(&raw::frame(kind::SWITCH, 0, &[]));
    let (mut read, mut write) = (File::from(read), File::from(write));
    call(&mut AfterSwitch { raw: Some(&mut raw), pipe: &mut read }, &mut write);
}

/// Reads the pipe of a bypass once the other side has said on the socket that it uses it.
struct AfterSwitch<'a> {
    raw: Option<&'a mut Raw>,
    pipe: &'a mut File,
}

impl Read for AfterSwitch<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if let Some(raw) = self.raw.take() {
            assert_eq!(raw.frame().kind, kind::SWITCH);
        }
        self.pipe.read(bytes)
    }
}
