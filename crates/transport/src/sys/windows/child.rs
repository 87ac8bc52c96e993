//! How a child gets the ends of pipes, and takes them up.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{GetHandleInformation, HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType};

use super::half::{of_handle, of_pipe};
use super::{Handle, ReadHalf, WriteHalf};

/// The handle as its child knows it: an inherited handle keeps its number.
pub(crate) fn handle_number(handle: &Handle) -> String {
    (handle.as_raw_handle() as usize).to_string()
}

/// Handles that the next child inherits, until this is dropped.
///
/// The standard library offers no list of handles for a child: one that another
/// thread starts meanwhile inherits them too.
#[derive(Debug)]
pub(crate) struct Passed {
    _handles: Vec<Handle>,
}

/// Nothing of a command tells Windows which handles its children inherit.
#[derive(Debug)]
pub(crate) struct Inheritance;

impl Inheritance {
    pub(crate) fn of(_: &mut Command) -> Self {
        Inheritance
    }

    /// Makes the handles inheritable.
    pub(crate) fn pass(&self, handles: Vec<Handle>) -> io::Result<Passed> {
        for handle in &handles {
            set_inheritable(handle.as_raw_handle(), true)?;
        }
        Ok(Passed { _handles: handles })
    }
}

/// Held from looking at a handle to owning it.
static TAKING: Mutex<()> = Mutex::new(());

/// Takes up `"READ,WRITE"`, or one handle that is both.
pub(crate) fn take_handles(handles: &str) -> io::Result<(ReadHalf, WriteHalf)> {
    match handles.split_once(',') {
        Some((read, write)) if read != write => {
            // Both are looked at before one is taken.
            look(parse(read)?)?;
            look(parse(write)?)?;
            Ok((take_read_handle(read)?, take_write_handle(write)?))
        }
        Some((both, _)) => take(both).and_then(of_handle).map(of_pipe),
        None => take(handles).and_then(of_handle).map(of_pipe),
    }
}

/// Takes up a handle to read.
pub(crate) fn take_read_handle(handle: &str) -> io::Result<ReadHalf> {
    ReadHalf::new(take(handle)?)
}

/// Takes up a handle to write.
pub(crate) fn take_write_handle(handle: &str) -> io::Result<WriteHalf> {
    WriteHalf::new(take(handle)?)
}

fn parse(handle: &str) -> io::Result<RawHandle> {
    let decimal = !handle.is_empty() && handle.bytes().all(|byte| byte.is_ascii_digit());
    let number = handle.parse::<usize>().ok().filter(|_| decimal);
    // The system leaves the two lowest bits out, by which one handle had four numbers.
    let number = number.filter(|number| number % 4 == 0);
    let number = number.ok_or_else(|| invalid(format!("{handle:?} is not the number of a handle")))?;
    let handle = number as RawHandle;
    let standard = [io::stdin().as_raw_handle(), io::stdout().as_raw_handle(), io::stderr().as_raw_handle()];
    if standard.contains(&handle) {
        return Err(invalid(format!("{number} is a standard stream, which cannot be taken up")));
    }
    Ok(handle)
}

/// Whether the handle is one that a parent has passed on: a pipe, inheritable.
fn look(handle: RawHandle) -> io::Result<()> {
    let mut flags = 0;
    // SAFETY: of a number that is no open handle the call says so and does
    // nothing else; the place for the answer is this frame's.
    if unsafe { GetHandleInformation(handle, &mut flags) } == 0 {
        let why = io::Error::last_os_error();
        return Err(invalid(format!("the handle {} is not open: {why}", handle as usize)));
    }
    if flags & HANDLE_FLAG_INHERIT == 0 {
        let why = "was taken up before, or is of this process's own making";
        return Err(invalid(format!("the handle {} {why}", handle as usize)));
    }
    // SAFETY: the handle is open, as was just seen.
    if unsafe { GetFileType(handle) } != FILE_TYPE_PIPE {
        return Err(invalid(format!("the handle {} is no pipe", handle as usize)));
    }
    Ok(())
}

fn take(handle: &str) -> io::Result<OwnedHandle> {
    let handle = parse(handle)?;
    let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    look(handle)?;
    // From here on it looks taken to everybody else, and no child inherits it.
    set_inheritable(handle, false)?;
    // SAFETY: it is open and was inherited: the parent passed it to this process
    // to be owned by whoever takes it up, who is the first, as was just seen
    // under the lock.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn set_inheritable(handle: RawHandle, inheritable: bool) -> io::Result<()> {
    let flags = if inheritable { HANDLE_FLAG_INHERIT } else { 0 };
    // SAFETY: the call changes a flag of an open handle, and fails for any other number.
    if unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, flags) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
