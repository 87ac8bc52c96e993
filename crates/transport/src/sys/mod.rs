//! What differs between systems, under one interface. Nothing outside this
//! folder is unsafe or asks which system it is on.
//!
//! Each system gives:
//! - `Place`: where a name's pipe is (`of(&str)`, `of_user(u32, &str)`,
//!   `dotnet(&str)`, `Display`);
//! - `NamedListener`: `bind(&Place, Reach)`, `accept()`, `retire()`, which gives a
//!   `RetiredListener`: `accept()`, which never waits;
//! - `connect(&Place, expect_owner)`: one try, which never waits;
//! - `bind_fifo(&Place)`, `FifoName`, `HeldEnd`: a FIFO to read; `open_fifo(&Place)`: one
//!   try to open it for writing, which never waits; `ATOMIC`: what one write keeps whole;
//! - `Handle`, `pipe()`: an anonymous pipe, private to the process, as its
//!   reading and its writing handle; `handle_number`, `Inheritance`,
//!   `Passed`: how a child gets one; `take_handles`, `take_read_handle`, `take_write_handle`: how the
//!   child takes it up;
//! - `ReadHalf` and `WriteHalf`: a handle at work in the event loop; `can_have_bypass`,
//!   `pass_bypass`, `expects_bypass`, `take_bypass`: the pipes beside a socket;
//! - `is_single()`: whether this thread has but one processor; `let_others_run()`;
//! - `give_back_free_memory()`: what the allocator keeps for this thread;
//! - `BlockingRead`, `Room`, `Bell`, `wait`, `Interrupt`, `BoundListener`, and what ends in
//!   `_blocking`: the same for threads that wait by themselves;
//! - `take_stdio()`: the process's standard streams;
//! - `this_process()`, `this_user()`, `child_process(pid)`, and `Connected`: what can be
//!   asked of a connected peer; `user_name(uid)`; `may_be_unmapped_group(gid)`;
//! - `Credentials`, as which a peer may do what it does, and `run_as`; `open_path`: a file
//!   by a path that a peer has named.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;
