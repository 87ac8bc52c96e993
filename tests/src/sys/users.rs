//! Programs of the tests as other users. It takes root.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags,
    configure_capability_in_ambient_set, move_into_link_name_space, set_capabilities,
    set_capabilities_secure_bits, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// By what the system knows somebody: a user, a group, and supplementary ones.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: &'a [u32],
}

/// Can be somebody else and act as somebody else, and read what is nobody's to read.
pub const SOME: [CapabilitySet; 3] =
    [CapabilitySet::SETUID, CapabilitySet::SETGID, CapabilitySet::DAC_OVERRIDE];

/// Has `command` run as this somebody.
pub fn run_as<'c>(command: &'c mut Command, ids: Ids<'_>) -> &'c mut Command {
    let become_user = becoming(ids);
    // SAFETY: between fork and exec it makes system calls; what it allocates was
    // allocated before.
    unsafe { command.pre_exec(become_user) }
}

/// The same, with [`SOME`] capabilities.
pub fn run_as_with_some_capabilities<'c>(command: &'c mut Command, ids: Ids<'_>) -> &'c mut Command {
    let become_user = becoming(ids);
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

fn becoming(ids: Ids<'_>) -> impl Fn() -> io::Result<()> + Send + Sync + use<> {
    let groups: Vec<_> = ids.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    move || {
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

/// A user namespace that has a number for some users and groups alone: for each range, as many
/// ids from its start, by the numbers that they have outside.
#[derive(Debug, Clone)]
pub struct UserNamespace(Arc<File>);

impl UserNamespace {
    /// `None` where the kernel lets nobody make one.
    pub fn with(users: &[(u32, u32)], groups: &[(u32, u32)]) -> Option<UserNamespace> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        // SAFETY: between fork and exec it makes one system call, of the child's one thread.
        unsafe {
            command.pre_exec(|| Ok(rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER)?));
        }
        let mut inside = match command.spawn() {
            Ok(inside) => inside,
            Err(error) => {
                eprintln!("SKIPPED: no user namespace can be made: {error}");
                return None;
            }
        };
        let folder = format!("/proc/{}", inside.id());
        let map = |ranges: &[(u32, u32)]| {
            let lines = ranges.iter().map(|(start, count)| format!("{start} {start} {count}\n"));
            lines.collect::<String>()
        };
        fs::write(format!("{folder}/uid_map"), map(users)).expect("root maps any user");
        fs::write(format!("{folder}/gid_map"), map(groups)).expect("root maps any group");
        let namespace = File::open(format!("{folder}/ns/user")).expect("it is this process's child");
        drop(inside.stdin.take());
        inside.wait().expect("cat ends with its input");
        Some(UserNamespace(Arc::new(namespace)))
    }

    /// Has `command` run in it, with every capability there.
    pub fn enter<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let namespace = Arc::clone(&self.0);
        let enter = move || {
            Ok(move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&*namespace),
                Some(LinkNameSpaceType::User),
            )?)
        };
        // SAFETY: between fork and exec it makes one system call.
        unsafe { command.pre_exec(enter) }
    }
}
