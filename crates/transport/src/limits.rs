//! Every default limit of panpipe, on one screen.

use std::time::Duration;

// ---- frames and codecs ----

/// The largest message accepted, in bytes.
pub const MAX_FRAME: usize = 16 << 20;
/// The largest that a message can be allowed to be: what a frame's head can say.
pub const LARGEST_MESSAGE: usize = u32::MAX as usize;
/// How deep a decoded value may nest, in levels of serde's: a syntax tree takes two to four of
/// them for each of its own.
pub const MAX_DEPTH: u32 = 256;
/// How many times the bytes of a message the elements of its sequences and maps may take in
/// memory.
pub const DECODED_TIMES: usize = 16;
/// How many bytes they may take beyond that.
pub const DECODED_FREE: usize = 16 << 20;
/// How many elements a message may claim beyond one for each of its bytes.
/// Elements without bytes, as of a `Vec<()>`, are all that needs any.
pub const FREE_ELEMENTS: usize = 1 << 16;
/// How much room a codec makes ahead for a sequence that says how long it is,
/// in elements, at the outermost level; inner ones get less.
pub const PREALLOCATED: usize = 4096;

// ---- buffers ----

/// How much is read at once.
pub const READ_CHUNK: usize = 64 << 10;
/// How much is read at once where another large frame is expected, whose bytes
/// are to go elsewhere.
pub const READ_HEAD: usize = 4 << 10;
/// How large a frame is at most that takes no memory of its own: a reply of 64 bytes.
pub const SMALL_FRAME: usize = 88;
/// How long a block of bytes is at least that is shared rather than copied: below this a
/// copy is as quick.
pub const SHARED_BLOCK: usize = 16 << 10;
/// Up to how many bytes of a large message are copied beside others, rather than to go out
/// by themselves.
pub const SHORT_RUN: usize = 4 << 10;
/// How many buffers a thread keeps for its connections.
pub const POOL_BUFFERS: usize = 8;
/// How many large ones to read into it keeps; the process keeps as many again as a thread
/// keeps buffers.
pub const POOL_LARGE: usize = 2;
/// How large a kept buffer may be.
pub const POOL_BUFFER: usize = 4 << 20;
/// How many queued bytes a transport's sink takes before it writes.
pub const SINK_QUEUE: usize = 64 << 10;

// ---- waiting ----

/// How long a connection waits for bytes before it lets its thread sleep.
pub const SPIN: Duration = Duration::from_micros(100);
/// How often in a row it may wait so in vain.
pub const SPIN_MISSES: u16 = 4;
/// How many times it then sleeps at once, at most, before it tries again.
pub const SPIN_SKIPS: u16 = 1024;
/// How often it does where it was held up for the first time.
pub const SPIN_SKIPS_LEAST: u16 = 8;
/// Bytes that come sooner after it has given up were held up by it.
pub const SPIN_HELD_UP: Duration = Duration::from_micros(60);
/// How often in a row it looks for them each time it is its turn.
pub const SPIN_LOOKS: u32 = 16;
/// How often it may wait before the event loop is told to wake it.
pub const SPIN_UNTOLD: u8 = 16;
/// Others that share the processor with it, and take it for longer, have much to do.
pub const SPIN_OVERRUN: Duration = Duration::from_micros(200);
/// For how long what the system has said holds of the processors that a thread may run on.
pub const AFFINITY_HOLDS: Duration = Duration::from_millis(10);
/// How many other connections of its thread may begin to wait meanwhile.
pub const SPIN_CROWD: u32 = 8;
/// For how long nobody begins to wait so after there were more.
pub const SPIN_CROWDED: Duration = Duration::from_millis(1);
/// In a runtime of many threads: how long a caller looks for its reply, and the driver for
/// the rest of a message, or for the next calls of who has just been answered. Many callers
/// take longer to make their next calls than one.
pub const LOOK: Duration = Duration::from_micros(100);
/// How often a caller finds something else meanwhile.
pub const LOOKS_FOR_REPLY: u32 = 32;
/// How often in a row the driver looks, before others of the runtime's have their turn.
pub const LOOKS_FOR_CALLS: u32 = 32;
/// How long a list of wakers may be whose memory a thread keeps for the next.
pub const SPARE_WAKES: usize = 64;
/// After so many calls that were made alone no others are expected beside the next.
pub const CROWD: u8 = 64;

/// How often a thread looks by itself that nobody can wake, for want of descriptors.
pub const NO_BELL: Duration = Duration::from_millis(10);

// ---- bypasses ----

/// How many connections of a process have a bypass that it has made: each takes two pipes of
/// what a user may have of them, which is 1,024 by default on Linux.
pub const BYPASSES: usize = 128;
/// How many bytes a pipe of a bypass holds at least.
pub const BYPASS_HOLDS: usize = 64 << 10;
/// After how many short writes that would go by it a connection gets a bypass.
pub const BYPASS_PAYS: u16 = 64;
/// After how many it goes back to it from the socket.
pub const BYPASS_RETURNS: u16 = 16;
/// How many bytes that wait to be written go by the socket: these are no short messages.
pub const BYPASS_MOST: usize = 16 << 10;

// ---- names ----

/// The first pause between two tries to connect.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two tries to connect.
pub const CONNECT_PAUSE_MOST: Duration = Duration::from_millis(100);
/// How many clients may wait to be accepted.
pub const BACKLOG: u32 = 1024;
/// The same on Windows, where each takes an instance of the pipe.
pub const WAITING_INSTANCES: usize = 16;
/// How many users and groups a denial names.
pub const NAMED_IN_DENIAL: usize = 8;

// ---- acting as somebody else ----

/// How many threads at once act as one other user; more wait for one of them to end.
pub const IMPERSONATIONS: usize = 64;

// ---- trying again ----

/// The first pause between two tries of a client that reconnects.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause between two tries.
pub const BACKOFF_MOST: Duration = Duration::from_secs(1);
/// The shortest pause that can be set.
pub const BACKOFF_LEAST: Duration = Duration::from_millis(1);
/// How long it is tried in all before it is given up.
pub const BACKOFF_IN_ALL: Duration = Duration::from_secs(30);

// ---- one-way pipes ----

/// The largest record, in bytes: what Linux puts into a pipe in one piece.
pub const RECORD: usize = 4096;
/// How much is read at once of a one-way pipe, and how many bytes of its records wait
/// between the pipe and their handlers' connection.
pub const RECORDS_READ: usize = 64 << 10;
/// How many bytes are read at most of what is left when a reader ends: as many as a
/// pipe can hold.
pub const RECORDS_LEFT: usize = 1 << 20;
/// How often at most it is said that something was passed over.
pub const PASSED_OVER_PAUSE: Duration = Duration::from_secs(1);

// ---- logging ----

/// How many lines of one kind are logged at once that a peer can cause.
pub const LOG_BURST: u32 = 10;
/// After how long there is one more.
pub const LOG_PAUSE: Duration = Duration::from_secs(1);

// ---- sessions ----

/// How many bytes a connection in memory holds in each direction.
pub const IN_MEMORY: usize = 64 << 10;

/// How many calls of one peer run at once.
pub const MAX_CALLS: u32 = 1024;
/// How many more of them run that nest in calls of this side's.
pub const MAX_NESTED_CALLS: u32 = 256;
/// How many bytes of one peer's one-way calls wait until fewer than that run. Further ones
/// wait with the peer.
pub const ONEWAY_BYTES: usize = 2 << 20;
/// The smallest window of one-way calls, which holds until the peer's hello tells another.
pub const FIRST_ONEWAYS: u64 = 64 << 10;
/// What a waiting one-way call takes beside its frame.
pub const ONEWAY_COST: u64 = 96;
/// How many bytes of one-way calls wait of a peer that does not count them. The connection
/// ends at one more.
pub const UNCOUNTED_ONEWAYS: u64 = 4 << 20;
/// How many bytes of arguments of one peer's running calls are held.
pub const MAX_CALL_BYTES: usize = 64 << 20;
/// From which size on a handler's future is boxed before anything else is done with it.
pub const LARGE_FUTURE: usize = 16 << 10;
/// How many bytes wait to be sent before callers and handlers wait too.
pub const QUEUED_BYTES: usize = 1 << 20;
/// How many bytes of a session's own short messages may wait, to a peer that does
/// not read, before the connection is closed.
pub const UNREAD_WORDS: usize = 1 << 20;
/// How large a message is at least that travels in parts.
pub const LARGE_MESSAGE: usize = 128 << 10;
/// How large a part is: with it goes the head of a message of 1 MiB.
pub const PART: usize = (1 << 20) + (4 << 10);
/// The same while small messages pass the large ones: with some of those it fits
/// into what the system then takes at once.
pub const SHORT_PART: usize = 2 << 10;
/// For how many parts it stays so after the last of them.
pub const SHORT_PARTS: u32 = 128;
/// How much of what is written the system holds meanwhile, where it can be told.
pub const SHORT_SEND_BUFFER: usize = 2 << 10;
/// The same of a pipe: two parts, each in a page of its own where pages have 4 KiB.
pub const SHORT_PIPE: usize = 8 << 10;
/// The same while large messages go out alone: the more, the less often reader and
/// writer take turns.
pub const MUCH_HELD: usize = 1 << 20;
/// How many pipes of a process hold so much: a quarter of what a user may have on Linux.
pub const ROOMY_PIPES: usize = 16;
/// How many messages travel in parts at once, in one direction; others wait.
pub const TRANSFERS: usize = 4;
/// How many bytes of large messages, if they are more than one, wait to be sent
/// before one-way calls and handlers wait too.
pub const QUEUED_LARGE: usize = 4 << 20;
/// How much is written of them at a time before the connection's task looks
/// what has come in; one short part while small messages pass.
pub const WRITE_TURN: usize = 512 << 10;
/// How many clients a server serves at once.
pub const MAX_CLIENTS: usize = 4096;
/// How many calls of all clients of a server run at once.
pub const MAX_CALLS_IN_ALL: usize = 64 << 10;
/// How many clients are being told at once that they are not served; further ones
/// are turned away without a word.
pub const REFUSALS: usize = 256;
/// How many clients may wait for a server's access rule to answer.
pub const UNDECIDED: usize = 1024;
/// The same of one user.
pub const UNDECIDED_OF_USER: usize = 64;
/// How soon a server of threads that ends notices a second signal.
pub const SECOND_SIGNAL: Duration = Duration::from_millis(100);
/// How long a connection over which nothing passes is kept; for ever, if not given.
pub const IDLE_TIMEOUT: Option<Duration> = None;
/// The largest first message, sent before the receiver's limit is known.
pub const FIRST_MESSAGE: usize = 64 << 10;
/// The largest hello.
pub const HELLO: usize = 8 << 10;
/// The longest list in it of services that the other side may choose from.
pub const HELLO_CHOICE: usize = 4 << 10;
/// The largest metadata of a call.
pub const MAX_METADATA: usize = 8 << 10;
/// The largest metadata of a connection: they travel in the hello.
pub const CONNECTION_METADATA: usize = 3 << 9;
/// The longest name of a service.
pub const SERVICE_NAME: usize = 2 << 10;
/// The longest explanation that travels with an error.
pub const WORDS: usize = 1 << 10;
/// How many ports one peer may have open at once.
pub const MAX_PORTS: u32 = 512;
/// How many items of a stream are held before they are read.
pub const STREAM_ITEMS: u32 = 1024;
/// How many bytes of a stream are held before they are read.
pub const STREAM_BYTES: usize = 256 << 10;
/// The least number of bytes that can be set for that.
pub const STREAM_BYTES_LEAST: usize = 1 << 10;
/// How many bytes of items larger than that the streams of a peer hold in all.
pub const LARGE_ITEM_BYTES: usize = 32 << 20;
/// How many times as much a stream gets at most when it is read quickly.
pub const STREAM_GROWTH: u64 = 4;
/// How many bytes all streams of a connection get together for being read quickly.
pub const STREAM_GROWTH_BYTES: u64 = 16 << 20;
/// How often a connection's task reads before streams that wait to be written have their turn.
pub const READ_TURN: u32 = 8;
/// How many bytes each of several streams and large messages sends in its turn.
pub const QUANTUM: usize = 32 << 10;
/// How many bytes wait to be sent at most while several of them take turns.
pub const SHARED_QUEUE: usize = 64 << 10;
/// After how many bytes of small calls and replies that pass them streams and large messages
/// send twice as many, however much waits to be sent.
pub const FLOOR: usize = 64 << 10;
/// How many bytes wait to be sent at most, while streams or large messages send, before callers
/// and handlers wait too.
pub const QUEUED_BESIDE: usize = 256 << 10;
/// For how many rounds of turns a stream that has nothing to send keeps its place.
pub const IDLE_ROUNDS: u8 = 32;
/// How many bytes one stream sends before others get their turn.
pub const STREAM_TURN: usize = 512 << 10;
/// How many bytes wait to be sent before streams wait with further items.
pub const STREAM_QUEUE: usize = 256 << 10;
/// The same while other messages go out between their items.
pub const SHORT_QUEUE: usize = 16 << 10;
/// For how many items it stays so after the last of them.
pub const SHORT_ITEMS: u32 = 256;
/// How long a peer may take for its hello.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a plugin may take to say hello, its program's start included.
pub const PLUGIN_HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the last words of a plugin that has ended may take to be read.
pub const PLUGIN_LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a plugin that was told to end may take before it is killed.
pub const PLUGIN_TERMINATE: Duration = Duration::from_secs(1);
/// How long a plugin has to run for its next failure to be no more of the same.
pub const PLUGIN_STABLE: Duration = Duration::from_secs(10);
/// How much is read at once of what a plugin prints, and how long a line of it may be.
pub const OUTPUT_LINE: usize = 8 << 10;
/// How many of the last lines of a plugin's standard error are kept.
pub const STDERR_TAIL_LINES: usize = 20;
/// How many bytes of them.
pub const STDERR_TAIL_BYTES: usize = 4 << 10;
/// How long a client that makes no call keeps its hello to itself.
pub const HELLO_DELAY: Duration = Duration::from_secs(1);
/// The longest deadline; a longer one off the wire is taken for this one.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long the last bytes of a connection may take to be read.
pub const LINGER: Duration = Duration::from_secs(5);
/// How long a runtime that ends waits, for all its connections together, until peers have room
/// for the one-way calls and items that were accepted.
pub const LAST_WRITES: Duration = Duration::from_secs(1);
/// A runtime that ends as long after another one waits anew.
pub const LAST_WRITES_AGAIN: Duration = Duration::from_secs(5);
/// How long a peer may take to answer a Goodbye, once nothing else is left to be
/// done.
pub const GOODBYE: Duration = Duration::from_secs(1);
/// How long calls may go on when a server ends.
pub const DRAIN: Duration = Duration::from_secs(30);
/// The first pause after a client could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause after clients could not be accepted.
pub const ACCEPT_PAUSE_MOST: Duration = Duration::from_millis(250);
/// How often it is looked whether a child has ended, where the system does not tell.
pub const EXIT_PAUSE: Duration = Duration::from_millis(5);

/// How often a plugin whose file is open for writing is tried again, [`EXIT_PAUSE`] apart.
pub const BUSY_FILE_TRIES: u32 = 40;
/// How long a client may take to open a service of its own for a broadcast.
pub const BROADCAST_OPEN: Duration = Duration::from_secs(1);
