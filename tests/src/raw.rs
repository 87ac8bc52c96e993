//! A peer written from PROTOCOL.md alone, for bytes that panpipe's own client
//! would never send. It shares no code with what it tests.

use std::fs::{self, DirBuilder};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// What each direction begins with.
pub const MAGIC: &[u8; 8] = b"\x89panpipe";

/// The kinds of frames.
pub mod kind {
    /// Hello.
    pub const HELLO: u8 = 1;
    /// Refuse.
    pub const REFUSE: u8 = 2;
    /// Call.
    pub const CALL: u8 = 3;
    /// Oneway.
    pub const ONEWAY: u8 = 4;
    /// Reply.
    pub const REPLY: u8 = 5;
    /// Cancel.
    pub const CANCEL: u8 = 6;
    /// Goodbye.
    pub const GOODBYE: u8 = 7;
    /// Close.
    pub const CLOSE: u8 = 8;
    /// Item.
    pub const ITEM: u8 = 9;
    /// End.
    pub const END: u8 = 10;
    /// Credit.
    pub const CREDIT: u8 = 11;
    /// Stop.
    pub const STOP: u8 = 12;
    /// Part.
    pub const PART: u8 = 13;
    /// LastPart.
    pub const LAST_PART: u8 = 14;
    /// Abort.
    pub const ABORT: u8 = 15;
    /// Ask.
    pub const ASK: u8 = 17;
    /// Bypass.
    pub const BYPASS: u8 = 18;
    /// Switch.
    pub const SWITCH: u8 = 19;
    /// The bit that says that a list of ports stands behind the body.
    pub const CARRIES: u8 = 0x80;
    /// The bit that says that a trace stands before the body.
    pub const TRACED: u8 = 0x40;
    /// The bit that says that metadata stand behind the body.
    pub const METADATA: u8 = 0x20;
}

/// Where the socket of a plain name is.
pub fn path_of(name: &str) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("panpipe").join(name),
        None => PathBuf::from(format!("/tmp/panpipe-{}", rustix::process::geteuid().as_raw())).join(name),
    }
}

/// A varint.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A string.
pub fn string(text: &str) -> Vec<u8> {
    [varint(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// A frame.
pub fn frame(kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
    port_frame(kind, 0, id, body)
}

/// A frame about a port.
pub fn port_frame(kind: u8, port: u64, id: u64, body: &[u8]) -> Vec<u8> {
    let inside = [vec![kind], varint(port), varint(id), body.to_vec()].concat();
    [(inside.len() as u32).to_le_bytes().to_vec(), inside].concat()
}

/// A call that carries ports: each the bytes of its entry in the list.
pub fn carrying_call(id: u64, signature: &str, args: &[u8], ports: &[Vec<u8>]) -> Vec<u8> {
    let list = ports.concat();
    let head = [method(signature).to_le_bytes().to_vec(), varint(0)].concat();
    let body = [&head[..], args, &list, &(list.len() as u32).to_le_bytes()].concat();
    frame(kind::CALL | kind::CARRIES, id, &body)
}

/// A call that opens a service, `versions` being the newest and the oldest, or the
/// newest alone.
pub fn open(id: u64, service: &str, versions: &[u64]) -> Vec<u8> {
    let versions: Vec<_> = versions.iter().flat_map(|&version| varint(version)).collect();
    let head = [0u64.to_le_bytes().to_vec(), varint(0)].concat();
    frame(kind::CALL, id, &[head, string(service), versions].concat())
}

/// A stream that its opener writes, in the list of a message.
pub fn stream(port: u64) -> Vec<u8> {
    [vec![1], varint(port)].concat()
}

/// A hello that asks for a service, in bincode.
pub fn hello(wants: &str, version: u64) -> Vec<u8> {
    let mut body = [varint(1), varint(1), varint(0)].concat();
    body.extend([varint(16 << 20), varint(1024), varint(64 << 20)].concat());
    body.extend([string(wants), varint(version), string(""), varint(0)].concat());
    frame(kind::HELLO, 0, &body)
}

/// The same, and what it takes of ports: 512 of them, 1,024 items and 256 KiB of a
/// stream, 32 MiB of large items.
pub fn hello_with_ports(wants: &str, version: u64) -> Vec<u8> {
    let hello = hello(wants, version);
    let ports = [varint(512), varint(1024), varint(256 << 10), varint(32 << 20)].concat();
    // Behind the frame's length, the kind, the port and the id.
    frame(kind::HELLO, 0, &[&hello[7..], &ports[..]].concat())
}

/// The same, and the oldest version that is wanted.
pub fn hello_with_range(wants: &str, oldest: u64, newest: u64) -> Vec<u8> {
    let hello = hello_with_ports(wants, newest);
    frame(kind::HELLO, 0, &[&hello[7..], &varint(oldest), &varint(0), &varint(0)].concat())
}

/// A hello that offers a service, as a server says it.
pub fn server_hello(offers: &str) -> Vec<u8> {
    server_hello_of_version(offers, 1)
}

/// The same in a version.
pub fn server_hello_of_version(offers: &str, version: u64) -> Vec<u8> {
    let mut body = [varint(1), varint(1), varint(0)].concat();
    body.extend([varint(16 << 20), varint(1024), varint(64 << 20)].concat());
    body.extend([string(""), varint(0), string(offers), varint(version)].concat());
    frame(kind::HELLO, 0, &body)
}

/// The same of a server that takes ports.
pub fn server_hello_with_ports(offers: &str) -> Vec<u8> {
    let ports = [varint(512), varint(1024), varint(256 << 10), varint(32 << 20)].concat();
    frame(kind::HELLO, 0, &[&server_hello(offers)[7..], &ports[..]].concat())
}

/// The hello of a child that calls its parent's service and offers one of the same name.
pub fn mutual_hello(service: &str) -> Vec<u8> {
    let mut body = [varint(1), varint(1), varint(0)].concat();
    body.extend([varint(16 << 20), varint(1024), varint(64 << 20)].concat());
    body.extend([string(service), varint(1), string(service), varint(1)].concat());
    frame(kind::HELLO, 0, &body)
}

/// The hash that addresses a method.
pub fn method(signature: &str) -> u64 {
    let mut hash: u64 = 14_695_981_039_346_656_037;
    for byte in signature.bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// A one-way call.
pub fn oneway(signature: &str, args: &[u8]) -> Vec<u8> {
    frame(kind::ONEWAY, 0, &[&method(signature).to_le_bytes(), args].concat())
}

/// A call, its deadline as it stands on the wire: 0 for none, else one more than
/// the microseconds left.
pub fn call(id: u64, signature: &str, deadline: u64, args: &[u8]) -> Vec<u8> {
    let body = [method(signature).to_le_bytes().to_vec(), varint(deadline), args.to_vec()].concat();
    frame(kind::CALL, id, &body)
}

/// A trace, as it stands before the body of a call: kept, if its flags are 1.
pub fn trace(trace_id: u128, span_id: u64, flags: u8) -> Vec<u8> {
    [&trace_id.to_be_bytes()[..], &span_id.to_be_bytes(), &[flags]].concat()
}

/// A call, or a one-way call, with something before its body.
pub fn traced(kind: u8, id: u64, trace: &[u8], signature: &str) -> Vec<u8> {
    let head = [trace, &method(signature).to_le_bytes()].concat();
    let deadline = if kind == kind::CALL { varint(0) } else { Vec::new() };
    frame(kind | kind::TRACED, id, &[head, deadline].concat())
}

/// The arguments of `echo`: one block of bytes, in bincode.
pub fn block(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u64).to_le_bytes().to_vec(), bytes.to_vec()].concat()
}

/// A record of a one-way pipe.
pub fn record(service: &str, version: u64, codec: u8, signature: &str, args: &[u8]) -> Vec<u8> {
    let service = method(&format!("{service} {version}"));
    let body = [&service.to_le_bytes()[..], &[codec], &method(signature).to_le_bytes(), args].concat();
    let stuffed: Vec<u8> = without_noughts(&body).into_iter().map(|byte| byte ^ 0x89).collect();
    let behind_sum = [sevens(stuffed.len() as u64, 2), stuffed].concat();
    [b"\x89way".to_vec(), sevens(u64::from(crc32(&behind_sum)), 5), behind_sum].concat()
}

/// A number in so many bytes of seven bits.
fn sevens(value: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| (value >> (7 * place)) as u8 & 0x7f).collect()
}

/// Each run of up to 254 bytes that are not nought behind its length, plus one; a nought
/// goes between runs, but behind one of 254.
fn without_noughts(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut runs = bytes.split(|&byte| byte == 0).peekable();
    while let Some(run) = runs.next() {
        let mut rest = run;
        while rest.len() >= 254 {
            out.push(255);
            out.extend(&rest[..254]);
            rest = &rest[254..];
        }
        let is_last = runs.peek().is_none();
        if !(is_last && rest.is_empty() && !run.is_empty()) {
            out.push(rest.len() as u8 + 1);
            out.extend(rest);
        }
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
}

/// A frame that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Which port it is about.
    pub port: u64,
    /// Which call it is about.
    pub id: u64,
    /// The rest.
    pub body: Vec<u8>,
}

impl Frame {
    /// The words that a Close or, after its reason, a Refuse carries.
    pub fn words(&self) -> String {
        let body = if self.kind == kind::REFUSE { &self.body[1..] } else { &self.body[..] };
        let (len, rest) = take_varint(body);
        String::from_utf8(rest[..len as usize].to_vec()).expect("words are UTF-8")
    }
}

fn take_varint(bytes: &[u8]) -> (u64, &[u8]) {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, &bytes[index + 1..]);
        }
    }
    panic!("a varint is cut off");
}

/// Reads a frame from any stream; `None` at the end of the stream.
pub fn read_frame(read: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 4];
    match read.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; u32::from_le_bytes(head) as usize];
    read.read_exact(&mut body)?;
    let (port, rest) = take_varint(&body[1..]);
    let (id, rest) = take_varint(rest);
    Ok(Some(Frame { kind: body[0], port, id, body: rest.to_vec() }))
}

/// Sends bytes, and two descriptors with them.
pub fn send_with(socket: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>; 2]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    assert!(passed.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut passed, SendFlags::empty()).expect("the other side reads");
}

/// Listens under a plain name, which is free again when this is dropped.
#[derive(Debug)]
pub struct RawListener {
    listener: UnixListener,
    path: PathBuf,
}

impl RawListener {
    /// Takes the name.
    pub fn bind(name: &str) -> RawListener {
        let path = path_of(name);
        let directory = path.parent().expect("the name is in a directory");
        DirBuilder::new().recursive(true).mode(0o700).create(directory).expect("it can be made");
        let listener = UnixListener::bind(&path).expect("the name is free");
        RawListener { listener, path }
    }

    /// Waits for a client, of which nothing has been read.
    pub fn accept(&self) -> Raw {
        Raw::over(self.listener.accept().expect("a client connects").0)
    }
}

impl Drop for RawListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A connection of raw bytes.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub socket: UnixStream,
}

impl Raw {
    /// Connects and says nothing.
    pub fn connect(name: &str) -> Raw {
        let socket = UnixStream::connect(path_of(name)).expect("the server listens");
        Raw::over(socket)
    }

    /// Over a socket.
    pub fn over(socket: UnixStream) -> Raw {
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("the time is not nought");
        Raw { socket }
    }

    /// The same with a hello that takes ports.
    pub fn greeted_with_ports(name: &str, service: &str) -> Raw {
        let mut raw = Raw::connect(name);
        raw.send(MAGIC);
        raw.send(&hello_with_ports(service, 1));
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        raw
    }

    /// Connects and says hello, which the server answers.
    pub fn greeted(name: &str, service: &str) -> Raw {
        let mut raw = Raw::connect(name);
        raw.send(MAGIC);
        raw.send(&hello(service, 1));
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        raw
    }

    /// Sends bytes; that the other side has gone is no matter.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Reads the magic.
    pub fn expect_magic(&mut self) {
        let mut magic = [0; 8];
        self.socket.read_exact(&mut magic).expect("the other side sends its magic");
        assert_eq!(&magic, MAGIC);
    }

    /// Reads a frame; `None` at the end of the stream.
    pub fn try_frame(&mut self) -> io::Result<Option<Frame>> {
        read_frame(&mut self.socket)
    }

    /// Reads once: bytes, and the descriptors that come with them.
    pub fn receive_with(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut passed = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 64];
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        let read = recvmsg(&self.socket, slices, &mut passed, RecvFlags::CMSG_CLOEXEC);
        let read = read.expect("a message can be received").bytes;
        let passed = passed.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let fds = passed.collect();
        (bytes[..read].to_vec(), fds)
    }

    /// Reads a frame, which must come.
    pub fn frame(&mut self) -> Frame {
        self.try_frame().expect("a frame can be read").expect("a frame comes before the end")
    }

    /// Reads until the end of the stream; gives the frames before it.
    pub fn to_the_end(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.try_frame().expect("frames can be read to the end")).collect()
    }
}
