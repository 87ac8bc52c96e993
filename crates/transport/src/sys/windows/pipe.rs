//! Anonymous pipes: named ones with one instance, whose name nobody can guess.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND, SECURITY_IDENTIFICATION,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};

use super::security::Security;

/// How much a pipe holds, in bytes.
const HOLDS: u32 = 64 << 10;

/// A pipe as its reading and its writing handle, both for overlapped use and
/// private to this process.
pub(crate) fn pipe() -> io::Result<(OwnedHandle, OwnedHandle)> {
    // Hashes under keys that the system seeds. Who guessed the name had still to be
    // of this user, and quicker than the next lines, which would fail then.
    let secret = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    let name = format!(r"\\.\pipe\panpipe-{}-{:016x}{:016x}", std::process::id(), secret.0, secret.1);
    let words: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let security = Security::owner_only()?;
    // SAFETY: the name ends with a nought, and the attributes live until the call is over.
    let handle = unsafe {
        CreateNamedPipeW(
            words.as_ptr(),
            PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            HOLDS,
            HOLDS,
            0,
            security.as_ptr(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just made and is owned by nobody else.
    let read = unsafe { OwnedHandle::from_raw_handle(handle) };
    let write = OpenOptions::new()
        .write(true)
        .custom_flags(FILE_FLAG_OVERLAPPED)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(name)?;
    Ok((read, write.into()))
}
