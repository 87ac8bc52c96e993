//! A server that breaks the rules: `misbehave NAME unblock`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use panpipe_tests::endings::greet;
use panpipe_tests::raw::{self, RawListener, kind};
use rustix::pipe::{PipeFlags, pipe_with};

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [name, "unblock"] => unblock(name),
        _ => panic!("{args:?} is no way to misbehave"),
    }
}

/// Passes a bypass, clears `O_NONBLOCK` of the ends that it has passed, and goes silent on it.
fn unblock(name: &str) {
    let listener = RawListener::bind(name);
    println!("ready");
    let raw = listener.accept();
    let socket = &raw.socket;
    greet(&mut &*socket, &mut &*socket, raw::server_hello("Probe"), 2);
    let mut pipes = None;
    loop {
        let frame = raw::read_frame(&mut &*socket).expect("the client is there");
        let frame = frame.expect("a frame comes before the end");
        match frame.kind {
            kind::CALL => {
                let reply = raw::frame(kind::REPLY, frame.id, &[&[0][..], &9u64.to_le_bytes()].concat());
                (&*socket).write_all(&reply).expect("the client reads");
            }
            kind::ASK => {
                let (read, their_write) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe can be made");
                let (their_read, write) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe can be made");
                let bypass = raw::frame(kind::BYPASS, 0, &[]);
                raw::send_with(socket, &bypass, &[their_read.as_fd(), their_write.as_fd()]);
                pipes = Some((read, File::from(write), their_read, their_write));
            }
            kind::SWITCH => break,
            other => panic!("a frame of kind {other} came"),
        }
    }
    let (_read, _write, their_read, their_write) = pipes.expect("the client switches to what it has");
    for end in [&their_read, &their_write] {
        rustix::io::ioctl_fionbio(end, false).expect("the flag can be cleared");
    }
    // The client is to read from the pipe, where nothing comes.
    (&*socket).write_all(&raw::frame(kind::SWITCH, 0, &[])).expect("the client reads");
    println!("silent");
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
