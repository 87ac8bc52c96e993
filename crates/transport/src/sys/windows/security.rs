//! Who may open a pipe, and whose a pipe is: this user's.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::slice;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Room for a user's identity, whose largest form takes 84 bytes, aligned for it.
type UserRoom = [u64; 16];

/// This process's user, as text.
pub(super) fn this_user() -> io::Result<&'static str> {
    static USER: OnceLock<String> = OnceLock::new();
    match USER.get() {
        Some(user) => Ok(user),
        None => ask_user().map(|user| USER.get_or_init(|| user).as_str()),
    }
}

fn ask_user() -> io::Result<String> {
    let mut token = ptr::null_mut();
    // SAFETY: the pseudo handle of this process is always good, and the place for
    // the result is this frame's.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened and is owned by nobody else.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut room: UserRoom = [0; 16];
    let mut used = 0;
    // SAFETY: the token is open, the room is this frame's, and its size is told.
    let told = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            room.as_mut_ptr().cast(),
            size_of::<UserRoom>() as u32,
            &mut used,
        )
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has put a TOKEN_USER there, and the room is aligned for it.
    let user = unsafe { &*room.as_ptr().cast::<TOKEN_USER>() };
    // SAFETY: the identity is valid as long as the room, in which it is.
    unsafe { text_of(user.User.Sid) }
}

/// Whose an open pipe is. No user without special rights can make one that is
/// another's.
pub(super) fn owner_of(pipe: &impl AsRawHandle) -> io::Result<String> {
    let mut owner: PSID = ptr::null_mut();
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the handle is open as long as `pipe` is borrowed, the places for the
    // results are this frame's, and what is null is not asked for.
    let outcome = unsafe {
        GetSecurityInfo(
            pipe.as_raw_handle(),
            SE_KERNEL_OBJECT,
            OWNER_SECURITY_INFORMATION,
            &mut owner,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut descriptor,
        )
    };
    if outcome != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(outcome as i32));
    }
    let _descriptor = Freed(descriptor);
    if owner.is_null() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the pipe has no owner"));
    }
    // SAFETY: the owner is in the descriptor, which lives until this returns.
    unsafe { text_of(owner) }
}

/// An identity as text.
///
/// # Safety
///
/// The identity must be valid.
unsafe fn text_of(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the identity is valid, as the caller sees to; the place for the
    // result is this frame's.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let _text = Freed(text.cast());
    // SAFETY: the system has written a text that ends with a nought, which is
    // freed when this returns.
    let words = unsafe {
        let len = (0..).take_while(|at| *text.add(*at) != 0).count();
        slice::from_raw_parts(text, len)
    };
    Ok(String::from_utf16_lossy(words))
}

/// What the system has allocated and says to free so.
struct Freed(*mut c_void);

impl Drop for Freed {
    fn drop(&mut self) {
        // SAFETY: it came from the system, which says to free it so, and whoever
        // has this no longer uses it.
        unsafe {
            LocalFree(self.0);
        }
    }
}

/// The attributes of a pipe that is this user's, and that no child inherits.
pub(super) struct Security {
    _descriptor: Freed,
    attributes: SECURITY_ATTRIBUTES,
}

/// What a client needs: to read, to write, to wait. Not among it is to make further
/// instances of the pipe, which is to serve; it is in the system's own "write".
const CLIENT_RIGHTS: &str = "0x12019b";

impl Security {
    /// Only its owner opens it.
    pub(super) fn owner_only() -> io::Result<Self> {
        let user = this_user()?;
        // Owned by the user, also where an administrator's pipes are owned by all
        // administrators; a protected list with one entry: everything, for the user.
        Security::of(&format!("O:{user}D:P(A;;GA;;;{user})"))
    }

    /// Whoever has logged on may be a client.
    pub(super) fn authenticated_users() -> io::Result<Self> {
        let user = this_user()?;
        Security::of(&format!("O:{user}D:P(A;;GA;;;{user})(A;;{CLIENT_RIGHTS};;;AU)"))
    }

    pub(super) fn of(text: &str) -> io::Result<Self> {
        let words: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a nought, the place for the result is this
        // frame's, and its size is not asked for.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                words.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        };
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        let attributes = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: descriptor,
            bInheritHandle: 0,
        };
        Ok(Security { _descriptor: Freed(descriptor), attributes })
    }

    /// The attributes as the system takes them; valid as long as this lives.
    pub(super) fn as_ptr(&self) -> *const SECURITY_ATTRIBUTES {
        &self.attributes
    }

    pub(super) fn as_raw(&self) -> *mut c_void {
        self.as_ptr().cast_mut().cast()
    }
}
