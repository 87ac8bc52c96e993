//! What the system says of a process.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The memory that is resident, in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has an RSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("an RSS is a number")
}

/// Binds this thread to one processor, and with it what it starts from here on.
///
/// # Panics
///
/// When the system does not let it.
#[cfg(target_os = "linux")]
pub fn bind_to_one_processor() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let all = sched_getaffinity(None).expect("the system tells a thread's processors");
    let one = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).expect("a thread runs somewhere");
    let mut set = CpuSet::new();
    set.set(one);
    sched_setaffinity(None, &set).expect("it is one of those that it has");
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").count()
}

/// How many file descriptors are open.
pub fn fds(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// The same without those of event loops: a connection may have one of those, where it pays.
pub fn fds_but_event_loops(pid: u32) -> usize {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links.filter(|link| !link.ends_with("anon_inode:[eventpoll]")).count()
}

/// How many sockets a process has.
pub fn sockets(pid: u32) -> usize {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// How many ends of pipes a process has.
pub fn pipes(pid: u32) -> usize {
    ends_of_pipes(pid).count()
}

/// How many bytes each pipe holds of which a process has an end.
pub fn pipe_sizes(pid: u32) -> Vec<usize> {
    // Opened for both, it does not wait for another end.
    let open = |end| OpenOptions::new().read(true).write(true).open(end).ok();
    ends_of_pipes(pid).filter_map(|end| rustix::pipe::fcntl_getpipe_size(open(end)?).ok()).collect()
}

fn ends_of_pipes(pid: u32) -> impl Iterator<Item = PathBuf> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    let is_pipe =
        |fd: &PathBuf| fs::read_link(fd).is_ok_and(|link| link.to_string_lossy().starts_with("pipe:"));
    fds.filter_map(|fd| Some(fd.ok()?.path())).filter(is_pipe)
}

/// The names of a process's Unix sockets; an abstract one's begins with `@`.
pub fn socket_names(pid: u32) -> Vec<String> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives");
    // One that has been closed meanwhile is none.
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let inodes: Vec<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let sockets = fs::read_to_string("/proc/net/unix").expect("there are Unix sockets");
    let columns = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|columns| columns.len() > 7 && inodes.iter().any(|inode| inode == columns[6]))
        .map(|columns| columns[7].to_owned())
        .collect()
}

/// The numbers of the open file descriptors of this process, the one that
/// reading them takes left out.
pub fn own_fds() -> Vec<u32> {
    let listing = fs::read_dir("/proc/self/fd").expect("a process can see its own descriptors");
    let mut fds: Vec<(u32, String)> = listing
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, target))
        })
        .collect();
    fds.retain(|(_, target)| !target.contains("/fd"));
    fds.sort_unstable();
    fds.into_iter().map(|(fd, _)| fd).collect()
}

/// The open descriptors of this process, each as its number and what it is; the one
/// that reading them takes left out.
pub fn descriptors() -> Vec<String> {
    let listing = fs::read_dir("/proc/self/fd").expect("a process can see its own descriptors");
    let listed = listing.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let target = target.to_string_lossy();
        (!target.contains("/fd")).then(|| format!("{} {target}", entry.file_name().to_string_lossy()))
    });
    listed.collect()
}

/// Whether a process's first thread is in this system call, by its name or a part of it.
pub fn is_sleeping_in(pid: u32, call: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|channel| channel.contains(call))
}

/// Whether a process is there and no zombie.
pub fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether anything has this number, a zombie too.
pub fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// Whether every thread of a process is stopped by a signal.
pub fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    threads
        .filter_map(Result::ok)
        .all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
}

/// Makes the pipes to and from the parent of this process, a child of panpipe's, as
/// small as they can be.
pub fn shrink_pipes() {
    let handles = std::env::var("PANPIPE_HANDLES").expect("the parent passed them");
    for handle in handles.split(',') {
        // Opened again it is the same pipe.
        let pipe = fs::File::open(format!("/proc/self/fd/{handle}"))
            .or_else(|_| fs::File::create(format!("/proc/self/fd/{handle}")))
            .expect("a process can open its own pipes");
        rustix::pipe::fcntl_setpipe_size(&pipe, 4096).expect("a pipe can be made smaller");
    }
}

/// As whom a thread may do what it does: as the system's files say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The real, the effective and the saved user, and the one for files.
    pub uids: Vec<u32>,
    /// The same of the group.
    pub gids: Vec<u32>,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The capabilities that work.
    pub capabilities: u64,
}

impl Standing {
    /// That of the calling thread.
    pub fn of_this_thread() -> Standing {
        Standing::read("/proc/thread-self/status").expect("this thread is running")
    }

    /// Those of all threads of this process but the calling one.
    pub fn of_other_threads() -> Vec<Standing> {
        let own = rustix::thread::gettid().as_raw_nonzero().to_string();
        let threads = fs::read_dir("/proc/self/task").expect("a process can see its threads");
        let threads = threads
            .map(|thread| thread.expect("it can be listed").file_name().to_string_lossy().into_owned());
        // One that has ended meanwhile cannot be read.
        threads
            .filter(|thread| *thread != own)
            .filter_map(|thread| Standing::read(&format!("/proc/self/task/{thread}/status")).ok())
            .collect()
    }

    fn read(path: &str) -> io::Result<Standing> {
        let status = fs::read_to_string(path)?;
        let line = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).expect("every thread's status has it")
        };
        let numbers = |key| {
            let words = line(key).split_whitespace();
            words.map(|word| word.parse().expect("an id is a number")).collect()
        };
        let capabilities = u64::from_str_radix(line("CapEff:").trim(), 16).expect("a set is a number");
        Ok(Standing {
            uids: numbers("Uid:"),
            gids: numbers("Gid:"),
            groups: numbers("Groups:"),
            capabilities,
        })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { uids, gids, groups, capabilities } = self;
        write!(f, "uids {uids:?} gids {gids:?} groups {groups:?} capabilities {capabilities:x}")
    }
}

/// The processor time of a process, in hundredths of a second.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(") ").expect("its name is in brackets");
    let ticks = fields.split(' ').skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().expect("ticks are a number")).sum()
}
