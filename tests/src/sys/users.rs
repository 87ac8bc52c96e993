//! Programs of the tests as other users. It takes root.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    set_capabilities, set_capabilities_secure_bits, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Somebody, with a group of their own and supplementary ones.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: &'static [u32],
}

/// Can be somebody else and act as somebody else, and read what is nobody's to read.
pub const SOME: [CapabilitySet; 3] =
    [CapabilitySet::SETUID, CapabilitySet::SETGID, CapabilitySet::DAC_OVERRIDE];

/// Has `command` run as this user.
pub fn run_as(command: &mut Command, user: User) -> &mut Command {
    let become_user = becoming(user);
    // SAFETY: between fork and exec it makes system calls; what it allocates was
    // allocated before.
    unsafe { command.pre_exec(become_user) }
}

/// The same, with [`SOME`] capabilities.
pub fn run_as_with_some_capabilities(command: &mut Command, user: User) -> &mut Command {
    let become_user = becoming(user);
    let some = SOME.into_iter().collect();
    let sets = CapabilitySets { effective: some, permitted: some, inheritable: some };
    let keeping = move || {
        set_keep_capabilities(true)?;
        become_user()?;
        set_capabilities(None, sets)?;
        for capability in SOME {
            configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(keeping) }
}

/// Has the kernel leave `command` its capabilities when it changes its user.
pub fn leave_capabilities(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec it makes one system call.
    unsafe { command.pre_exec(|| Ok(set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?)) }
}

fn becoming(user: User) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    let groups: Vec<_> = user.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    move || {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}
