//! One thread as another user, for a while.
//!
//! All of it by system calls that change the calling thread alone. The C library's
//! functions of the same names change every thread of the process.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::id_map::{Kind, may_be_unmapped};
use crate::error::ImpersonateError;

/// As whom a process may do what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    uid: u32,
    gid: u32,
    /// In order.
    groups: Vec<u32>,
}

impl Credentials {
    pub(super) fn new(uid: u32, gid: u32, mut groups: Vec<u32>) -> Self {
        groups.sort_unstable();
        Credentials { uid, gid, groups }
    }

    /// The user.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Refuses ids that have no number in this process's user namespace.
    ///
    /// The kernel shows every such id as the same number. With a group of that number, a
    /// thread would keep a group of this process's that the caller does not have.
    fn check_mapped(&self) -> Result<(), ImpersonateError> {
        let unmapped = if may_be_unmapped(Kind::User, self.uid) {
            Some(("user", self.uid))
        } else {
            let mut groups = [self.gid].into_iter().chain(self.groups.iter().copied());
            groups.find(|&group| may_be_unmapped(Kind::Group, group)).map(|group| ("group", group))
        };
        match unmapped {
            Some((what, id)) => Err(ImpersonateError::Unmapped { what, id, wanted: self.to_string() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {} with group {} and groups {:?}", self.uid, self.gid, self.groups)
    }
}

/// Runs `f` on this thread as somebody else, and makes the thread what it was
/// before, also when `f` panics. Ends the process if it cannot.
///
/// Only the effective ids are changed. The real and the saved ones stay this
/// process's: by them the system decides who may signal and trace the thread, which
/// the caller must not; and they are the way back.
pub(crate) fn run_as<T>(
    caller: &Credentials,
    f: impl FnOnce() -> T,
) -> Result<thread::Result<T>, ImpersonateError> {
    let system = |what| move |source| ImpersonateError::System { what, source };
    caller.check_mapped()?;
    let before = Standing::now().map_err(system("what this thread may do cannot be had"))?;
    let wanted = before.as_caller(caller)?;
    let outcome = match before.become_caller(caller) {
        // Seen, not believed: a security module may have had its own mind.
        Ok(()) => match Standing::now() {
            Ok(now) if now == wanted => Ok(catch_unwind(AssertUnwindSafe(f))),
            Ok(now) => Err(io::Error::other(format!("it is {now:?}, and was to be {wanted:?}"))),
            Err(error) => Err(error),
        },
        Err(Errno::PERM) => Err(io::ErrorKind::PermissionDenied.into()),
        Err(other) => Err(other.into()),
    };
    if let Err(why) = before.restore() {
        stop(caller, &why);
    }
    outcome.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ImpersonateError::NotPermitted {
            ours: before.uid.effective,
            theirs: caller.uid,
            wanted: caller.to_string(),
        },
        _ => system("no thread can take on the caller's user and groups")(source),
    })
}

/// The thread is somebody else for good, and so would be all that it starts.
fn stop(caller: &Credentials, why: &io::Error) -> ! {
    let _ = writeln!(
        io::stderr(),
        "panpipe: a thread that ran as {caller} cannot be made what it was before: {why}; \
         the process is aborted, for it must not go on as somebody else"
    );
    std::process::abort()
}

/// The ids of one kind that a thread has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    real: u32,
    effective: u32,
    saved: u32,
    /// What files are opened by. It follows the effective one.
    files: u32,
}

impl Ids {
    /// Whether the effective id can be given up and taken back.
    fn can_return(self) -> bool {
        self.files == self.effective && (self.effective == self.real || self.effective == self.saved)
    }

    fn acting_as(self, id: u32) -> Ids {
        Ids { effective: id, files: id, ..self }
    }
}

/// All by which the system decides what a thread may do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    uid: Ids,
    gid: Ids,
    groups: Vec<u32>,
    capabilities: CapabilitySets,
}

impl Standing {
    /// That of the calling thread.
    fn now() -> io::Result<Standing> {
        Ok(Standing {
            uid: ids(libc::getresuid, libc::setfsuid)?,
            gid: ids(libc::getresgid, libc::setfsgid)?,
            groups: groups()?,
            capabilities: capabilities(None)?,
        })
    }

    /// What it has to be while the thread acts as the caller: without a capability that
    /// works, whoever the caller is. Which ones a caller has the system does not tell.
    fn as_caller(&self, caller: &Credentials) -> Result<Standing, ImpersonateError> {
        if !self.uid.can_return() || !self.gid.can_return() {
            return Err(ImpersonateError::System {
                what: "this thread could not be made what it is now",
                source: io::Error::other(format!(
                    "its effective user or group is neither the real nor the saved one: {:?}, {:?}",
                    self.uid, self.gid
                )),
            });
        }
        Ok(Standing {
            uid: self.uid.acting_as(caller.uid),
            gid: self.gid.acting_as(caller.gid),
            groups: caller.groups.clone(),
            capabilities: CapabilitySets { effective: CapabilitySet::empty(), ..self.capabilities },
        })
    }

    fn become_caller(&self, caller: &Credentials) -> Result<(), Errno> {
        // First what is to bring the thread back, which changes nothing now: an id that
        // this user namespace has no number for could be given up, and not be had again.
        set_ids(self.uid.effective, self.gid.effective, Order::GroupFirst)?;
        // First this thread's own groups, which changes nothing: groups that have no number
        // here could be given up, and not be had again.
        match set_groups(&self.groups).and_then(|()| set_groups(&caller.groups)) {
            // Setting any groups takes a capability. Without it the thread keeps its own if they
            // are the caller's: equal numbers are equal groups, since every number is one group's.
            Err(Errno::PERM) if self.groups == caller.groups => {}
            set => set?,
        }
        set_ids(caller.uid, caller.gid, Order::GroupFirst)?;
        // The kernel drops root's by itself, unless it was told not to, and nobody else's.
        let now = capabilities(None)?;
        if !now.effective.is_empty() {
            set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..now })?;
        }
        Ok(())
    }

    /// Makes the calling thread what it was, and looks whether it is.
    fn restore(&self) -> io::Result<()> {
        // First what the rest may need; and again at the end, since the kernel gives
        // all to who becomes root and takes all from who ceases to be it.
        self.restore_capabilities()?;
        set_ids(self.uid.effective, self.gid.effective, Order::UserFirst)?;
        if groups()? != self.groups {
            set_groups(&self.groups)?;
        }
        self.restore_capabilities()?;
        let now = Standing::now()?;
        if now == *self {
            return Ok(());
        }
        Err(io::Error::other(format!("it is {now:?}, and was {self:?}")))
    }

    fn restore_capabilities(&self) -> io::Result<()> {
        if capabilities(None)? != self.capabilities {
            set_capabilities(None, self.capabilities)?;
        }
        Ok(())
    }
}

enum Order {
    UserFirst,
    GroupFirst,
}

/// Sets the effective ids, and with them those for files.
fn set_ids(uid: u32, gid: u32, order: Order) -> Result<(), Errno> {
    let user = || set_thread_res_uid(None, Uid::from_raw(uid), None);
    let group = || set_thread_res_gid(None, Gid::from_raw(gid), None);
    match order {
        Order::UserFirst => user().and_then(|()| group()),
        Order::GroupFirst => group().and_then(|()| user()),
    }
}

fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    let groups: Vec<_> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
    set_thread_groups(&groups)
}

fn groups() -> io::Result<Vec<u32>> {
    let mut groups: Vec<_> = getgroups()?.into_iter().map(|group| group.as_raw()).collect();
    groups.sort_unstable();
    Ok(groups)
}

type GetIds = unsafe extern "C" fn(*mut u32, *mut u32, *mut u32) -> libc::c_int;
type SetFilesId = unsafe extern "C" fn(u32) -> libc::c_int;

/// The calling thread's ids of one kind.
fn ids(get: GetIds, set_files: SetFilesId) -> io::Result<Ids> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the pointers are to numbers of this frame.
    if unsafe { get(&mut real, &mut effective, &mut saved) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes a number. Set to one that cannot be it changes nothing and tells
    // what there is; there is no other way to ask.
    let files = unsafe { set_files(u32::MAX) };
    Ok(Ids { real, effective, saved, files: files as u32 })
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits, set_keep_capabilities};

    use super::*;

    const OTHER: u32 = 50_001;

    fn other() -> Credentials {
        Credentials::new(OTHER, 50_101, vec![50_201, 50_101])
    }

    /// A thread whose user is changed in every way belongs to one test alone.
    fn on_a_thread_of_roots(test: fn()) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a thread cannot be another user's without being root");
            return;
        }
        if let Err(panic) = thread::spawn(test).join() {
            resume_unwind(panic);
        }
    }

    /// Makes this thread another user's for good.
    fn be(uid: u32) {
        let uid = Uid::from_raw(uid);
        set_thread_res_gid(Gid::from_raw(OTHER), Gid::from_raw(OTHER), Gid::from_raw(OTHER)).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
    }

    #[track_caller]
    fn acts_as_other_and_returns() {
        let before = Standing::now().unwrap();
        let meanwhile = run_as(&other(), || Standing::now().unwrap()).unwrap().unwrap();
        let ids = |ids: Ids, effective| Ids { effective, files: effective, ..ids };
        assert_eq!((meanwhile.uid, meanwhile.gid), (ids(before.uid, OTHER), ids(before.gid, 50_101)));
        assert_eq!(meanwhile.groups, [50_101, 50_201]);
        assert_eq!(meanwhile.capabilities.effective, CapabilitySet::empty());
        assert_eq!(Standing::now().unwrap(), before);
    }

    #[test]
    fn root_acts_as_another_and_is_root_again() {
        on_a_thread_of_roots(acts_as_other_and_returns);
    }

    #[test]
    fn after_a_panic_the_thread_is_what_it_was() {
        on_a_thread_of_roots(|| {
            let before = Standing::now().unwrap();
            let panic = run_as(&other(), || -> u8 { panic!("as it was to") }).unwrap().unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"as it was to"));
            assert_eq!(Standing::now().unwrap(), before);
        });
    }

    #[test]
    fn roots_capabilities_go_also_where_the_kernel_leaves_them() {
        on_a_thread_of_roots(|| {
            set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP).unwrap();
            acts_as_other_and_returns();
        });
    }

    #[test]
    fn capabilities_of_somebody_who_is_not_root_go_and_come_back() {
        on_a_thread_of_roots(|| {
            set_keep_capabilities(true).unwrap();
            be(50_002);
            let some = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::DAC_OVERRIDE;
            let sets =
                CapabilitySets { effective: some, permitted: some, inheritable: CapabilitySet::empty() };
            set_capabilities(None, sets).unwrap();
            acts_as_other_and_returns();
            // Who becomes root gets all that it is permitted, from the kernel.
            let before = Standing::now().unwrap();
            let root = Credentials::new(0, 0, vec![]);
            let meanwhile = run_as(&root, || Standing::now().unwrap()).unwrap().unwrap();
            assert_eq!(
                (meanwhile.uid.effective, meanwhile.capabilities.effective),
                (0, CapabilitySet::empty())
            );
            assert_eq!(Standing::now().unwrap(), before);
        });
    }

    #[test]
    fn an_unprivileged_thread_acts_as_itself_alone() {
        on_a_thread_of_roots(|| {
            set_groups(&[7]).unwrap();
            be(50_002);
            let before = Standing::now().unwrap();
            assert_eq!(run_as(&Credentials::new(50_002, OTHER, vec![7]), || 3).unwrap().unwrap(), 3);
            for caller in
                [other(), Credentials::new(50_002, OTHER, vec![]), Credentials::new(50_002, 0, vec![7])]
            {
                let error = run_as(&caller, || unreachable!()).map(|_: thread::Result<()>| ()).unwrap_err();
                assert!(
                    matches!(error, ImpersonateError::NotPermitted { ours: 50_002, theirs, .. } if theirs == caller.uid),
                    "{error}"
                );
                assert!(error.to_string().contains(&caller.to_string()), "{error}");
                assert_eq!(Standing::now().unwrap(), before);
            }
        });
    }

    /// Has the kernel say of a system call of this thread that it was done, and not do it.
    fn pretend(call: libc::c_long) {
        use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
        let step = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let mut steps = [
            // The call's number stands first in what the filter is given.
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0),
            step(BPF_JMP | BPF_JEQ | BPF_K, 1, u32::try_from(call).unwrap()),
            step(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ERRNO),
            step(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        // Without it only who has CAP_SYS_ADMIN may set a filter.
        rustix::thread::set_no_new_privs(true).unwrap();
        let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the filter is valid, and the kernel has copied it when the call returns.
        let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn what_the_kernel_says_is_not_believed() {
        fn refused(call: libc::c_long) {
            pretend(call);
            let before = Standing::now().unwrap();
            let error = run_as(&other(), || unreachable!()).map(|_: thread::Result<()>| ()).unwrap_err();
            assert!(error.to_string().contains("and was to be"), "{error}");
            assert_eq!(Standing::now().unwrap(), before);
        }
        on_a_thread_of_roots(|| refused(libc::SYS_setgroups));
        on_a_thread_of_roots(|| refused(libc::SYS_setresgid));
        on_a_thread_of_roots(|| refused(libc::SYS_setresuid));
        on_a_thread_of_roots(|| {
            set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP).unwrap();
            refused(libc::SYS_capset);
        });
    }

    #[test]
    fn a_thread_that_could_not_return_does_not_go() {
        on_a_thread_of_roots(|| {
            let uid = |uid| Some(Uid::from_raw(uid));
            set_thread_res_uid(uid(0), uid(50_002), uid(0)).unwrap();
            // Neither the real nor the saved user is the one that it acts as.
            let before = Standing::now().unwrap();
            let error = run_as(&other(), || ()).unwrap_err();
            assert!(matches!(error, ImpersonateError::System { .. }), "{error}");
            assert_eq!(Standing::now().unwrap(), before);
        });
    }
}
