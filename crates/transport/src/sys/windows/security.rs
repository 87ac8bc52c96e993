//! Who may open a pipe: its owner and nobody else.

use std::ffi::c_void;
use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES};

/// A protected list with one entry: everything, for the owner.
const OWNER_ONLY: &str = "D:P(A;;GA;;;OW)";

/// The attributes of a pipe that only its owner opens, and no child inherits.
pub(super) struct OwnerOnly {
    descriptor: PSECURITY_DESCRIPTOR,
    attributes: SECURITY_ATTRIBUTES,
}

impl OwnerOnly {
    pub(super) fn new() -> io::Result<Self> {
        let words: Vec<u16> = OWNER_ONLY.encode_utf16().chain([0]).collect();
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
        Ok(OwnerOnly { descriptor, attributes })
    }

    /// The attributes as the system takes them; valid as long as this lives.
    pub(super) fn as_ptr(&self) -> *const SECURITY_ATTRIBUTES {
        &self.attributes
    }

    pub(super) fn as_raw(&self) -> *mut c_void {
        self.as_ptr().cast_mut().cast()
    }
}

impl Drop for OwnerOnly {
    fn drop(&mut self) {
        // SAFETY: the descriptor came from the system, which says to free it so,
        // and nothing refers to it any more.
        unsafe {
            LocalFree(self.descriptor);
        }
    }
}
