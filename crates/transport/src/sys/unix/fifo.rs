//! FIFOs: making one, taking over a dead reader's, opening the end that is written.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, lstat, open};
use rustix::io::Errno;

use super::directory::{Entry, Prepared, prepare};
use super::listener::{denied, not_found, occupied, take_locks};
use super::lock::NameLock;
use super::loss::LossWatch;
use super::place::own_uid;
use super::{Place, ReadHalf, WriteHalf};
use crate::access::Reach;
use crate::error::{BindError, ConnectError};

/// How many bytes one write puts into a pipe whole, with no other writer's between.
pub(crate) const ATOMIC: usize = rustix::pipe::PIPE_BUF;

const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const WRITE: OFlags = OFlags::WRONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The right to a FIFO's name.
#[derive(Debug)]
pub(crate) struct FifoName {
    place: Place,
    entry: Entry,
    /// The FIFO's device and inode: what is ours to remove.
    inode: (u64, u64),
    /// The process that made it. A copy in a forked child owns nothing.
    owner: u32,
    /// Given up after the FIFO is gone.
    locks: Vec<NameLock>,
    loss: Option<Arc<LossWatch>>,
}

impl FifoName {
    /// Ready when the FIFO may have been removed; never where the system does not tell.
    pub(crate) fn event(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let loss = self.loss.clone();
        async move {
            match loss {
                Some(loss) => loss.event().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether the FIFO is not where writers look for it.
    pub(crate) fn is_lost(&self) -> bool {
        self.entry.inode_by_path().ok() != Some(self.inode)
    }

    /// Makes the FIFO of this name again, after it was removed.
    pub(crate) fn bind_again(mut self) -> Result<(ReadHalf, HeldEnd, FifoName), BindError> {
        let locks = std::mem::take(&mut self.locks);
        bind_with(&self.place, locks)
    }
}

impl Drop for FifoName {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.entry.unlink_if(self.inode);
        }
    }
}

/// The end that keeps a FIFO from ending with its last writer.
///
/// A second descriptor rather than one that is both: opening a FIFO for both
/// directions is Linux's own.
#[derive(Debug)]
pub(crate) struct HeldEnd {
    _fd: OwnedFd,
}

/// Makes the FIFO of a name, or takes over that of a reader that has died.
pub(crate) fn bind_fifo(place: &Place) -> Result<(ReadHalf, HeldEnd, FifoName), BindError> {
    if let Place::Foreign { owner, .. } = *place {
        return Err(BindError::Foreign { path: place.to_string(), owner, ours: own_uid() });
    }
    bind_with(place, Vec::new())
}

/// The same with what locks of the name this process has already.
fn bind_with(place: &Place, held: Vec<NameLock>) -> Result<(ReadHalf, HeldEnd, FifoName), BindError> {
    const OWN: Mode = Mode::RUSR.union(Mode::WUSR);
    let Prepared { entry, locks } = prepare(place, Reach::Owner)?;
    let io = |source: io::Error| BindError::Io { path: entry.display(), source };
    // The holder of the locks is alone with the name until it releases them.
    let locks = take_locks(locks, held, &entry)?;
    let is_new = match entry.make_fifo(OWN) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(other) => return Err(io(other.into())),
    };
    // The umask may have taken away what its own user needs.
    let (file, stat) = match entry.pin() {
        Err(Errno::PERM) => return Err(occupied(&entry)),
        pinned => pinned.map_err(|e| io(e.into()))?,
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo && stat.st_mode & 0o600 != 0o600 {
        file.set_mode(OWN).map_err(|e| io(e.into()))?;
    }
    if !is_new {
        check_stale(&entry)?;
    }
    let read = entry.open(READ, Mode::empty()).map_err(|e| io(e.into()))?;
    let stat = fstat(&read).map_err(|e| io(e.into()))?;
    if !is_own(&stat) {
        return Err(occupied(&entry));
    }
    let write = entry.open(WRITE, Mode::empty()).map_err(|e| io(e.into()))?;
    let inode = (stat.st_dev, stat.st_ino);
    if fstat(&write).is_ok_and(|write| (write.st_dev, write.st_ino) != inode) {
        return Err(occupied(&entry));
    }
    let read = ReadHalf::new(read).map_err(io)?;
    let (loss, owner) = (LossWatch::new(&entry).map(Arc::new), std::process::id());
    let name = FifoName { place: place.clone(), entry, inode, owner, locks, loss };
    Ok((read, HeldEnd { _fd: write }, name))
}

/// Whether it is a FIFO that only this user has.
fn is_own(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
        && stat.st_uid == own_uid()
        && stat.st_mode & 0o077 == 0
}

/// Whether what is there is the FIFO of a reader that has died. What it had not
/// read is still in it, if a writer has it open.
fn check_stale(entry: &Entry) -> Result<(), BindError> {
    let io = |source: Errno| BindError::Io { path: entry.display(), source: source.into() };
    let stat = entry.stat().map_err(io)?;
    if !is_own(&stat) {
        let is_fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
        return Err(if is_fifo && stat.st_mode & 0o077 != 0 {
            let mode = stat.st_mode & 0o777;
            let what = format!("a FIFO of user {} that others can open, its mode is {mode:04o}", stat.st_uid);
            BindError::Occupied { path: entry.display(), what }
        } else {
            occupied(entry)
        });
    }
    // A reader of another kind holds no lock of ours.
    match entry.open(WRITE, Mode::empty()) {
        Err(Errno::NXIO) => Ok(()),
        Ok(_) => Err(BindError::InUse { path: entry.display(), pid: None }),
        Err(other) => Err(io(other)),
    }
}

/// Opens the end that is written, if somebody reads; never waits.
pub(crate) fn open_fifo(place: &Place) -> Result<WriteHalf, ConnectError> {
    for path in place.private_paths() {
        match open_at(place, path) {
            Err(ConnectError::NotFound { .. }) => {}
            other => return other,
        }
    }
    Err(not_found(place))
}

fn open_at(place: &Place, at: &Path) -> Result<WriteHalf, ConnectError> {
    let path = || at.display().to_string();
    let io = |source: io::Error| ConnectError::Io { path: path(), source };
    let absent = || ConnectError::NotFound { path: path(), hint: "" };
    let no_fifo = || {
        io(io::Error::new(
            io::ErrorKind::InvalidInput,
            "what is there is no FIFO; a server of calls that are answered is connected to by the client's own `connect`",
        ))
    };
    let fd = match open(at, WRITE, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Err(absent()),
        // A FIFO that nobody reads, or a socket.
        Err(Errno::NXIO) => {
            let stat = lstat(at);
            return Err(match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Ok(FileType::Socket) => no_fifo(),
                _ => absent(),
            });
        }
        Err(Errno::ACCESS | Errno::PERM) => return Err(denied(place, at)),
        Err(other) => return Err(io(other.into())),
    };
    let stat = fstat(&fd).map_err(|e| io(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Err(no_fifo());
    }
    let expected = place.owner();
    if stat.st_uid != expected {
        return Err(ConnectError::WrongOwner { path: path(), expected, theirs: stat.st_uid });
    }
    WriteHalf::new(fd).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::{fs, io};

    use rustix::fs::{CWD, Mode, mkfifoat};
    use tokio::io::AsyncReadExt;

    use crate::{BindError, ConnectError, FifoReader, FifoWriter, Listener, PipeName};

    fn unique() -> PipeName {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        PipeName::new(&format!("unit.fifo.{}.{next}", std::process::id())).unwrap()
    }

    fn lock_of(name: &PipeName) -> String {
        format!("{}.lock", name.path().display())
    }

    #[tokio::test]
    async fn it_is_this_users_alone_and_goes_with_its_reader() {
        let name = unique();
        let reader = FifoReader::bind(&name).unwrap();
        let metadata = fs::metadata(name.path()).unwrap();
        assert!(metadata.file_type().is_fifo());
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        drop(reader);
        assert!(!name.path().exists() && !Path::new(&lock_of(&name)).exists());
    }

    #[tokio::test]
    async fn the_last_writers_going_is_no_end() {
        let name = unique();
        let mut reader = FifoReader::bind(&name).unwrap();
        let mut bytes = [0; 3];
        for text in [b"one", b"two"] {
            // As a shell does it: opened, written, closed.
            fs::write(name.path(), text).unwrap();
            reader.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, text);
        }
        let more = tokio::time::timeout(std::time::Duration::from_millis(20), reader.read(&mut bytes));
        assert!(more.await.is_err(), "there is nothing, and no end");
    }

    #[tokio::test]
    async fn a_live_one_is_refused_and_what_is_not_ours_is_left() {
        let name = unique();
        let reader = FifoReader::bind(&name).unwrap();
        assert!(matches!(FifoReader::bind(&name).unwrap_err(), BindError::InUse { .. }));
        assert!(matches!(Listener::bind(&name).unwrap_err(), BindError::InUse { .. }));
        drop(reader);

        fs::write(name.path(), "a file").unwrap();
        let error = FifoReader::bind(&name).unwrap_err();
        assert!(
            error.to_string().contains("a file of user") && error.to_string().contains("untouched"),
            "{error}"
        );
        assert_eq!(fs::read(name.path()).unwrap(), b"a file");
        let error = FifoWriter::new(&name).unwrap().open().unwrap_err();
        assert!(error.to_string().contains("no FIFO"), "{error}");
        fs::remove_file(name.path()).unwrap();

        std::os::unix::fs::symlink("/dev/null", name.path()).unwrap();
        assert!(matches!(FifoReader::bind(&name).unwrap_err(), BindError::Occupied { .. }));
        assert!(FifoWriter::new(&name).unwrap().open().is_err());
        fs::remove_file(name.path()).unwrap();

        // Somebody else's own, which others may open.
        mkfifoat(CWD, name.path(), Mode::RWXU).unwrap();
        fs::set_permissions(name.path(), fs::Permissions::from_mode(0o622)).unwrap();
        let error = FifoReader::bind(&name).unwrap_err();
        assert!(error.to_string().contains("0622"), "{error}");
        // One that another program reads.
        fs::set_permissions(name.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let other = tokio::net::unix::pipe::OpenOptions::new().open_receiver(name.path()).unwrap();
        assert!(matches!(FifoReader::bind(&name).unwrap_err(), BindError::InUse { .. }));
        drop(other);
        drop(FifoReader::bind(&name).unwrap());
        assert!(!name.path().exists());

        let listener = Listener::bind(&name).unwrap();
        let error = FifoWriter::new(&name).unwrap().open().unwrap_err();
        assert!(error.to_string().contains("no FIFO"), "{error}");
        drop(listener);
    }

    #[tokio::test]
    async fn what_was_put_in_its_place_is_not_removed() {
        let name = unique();
        let reader = FifoReader::bind(&name).unwrap();
        fs::remove_file(name.path()).unwrap();
        fs::write(name.path(), "another's").unwrap();
        drop(reader);
        assert_eq!(fs::read(name.path()).unwrap(), b"another's");
        fs::remove_file(name.path()).unwrap();
    }

    #[tokio::test]
    async fn what_a_dead_reader_left_is_taken_over_with_what_is_in_it() {
        let name = unique();
        // A FIFO without its lock, as after kill -9.
        drop(FifoReader::bind(&name).unwrap());
        mkfifoat(CWD, name.path(), Mode::RUSR | Mode::WUSR).unwrap();
        let dead = tokio::net::unix::pipe::OpenOptions::new().open_receiver(name.path()).unwrap();
        let mut writer = FifoWriter::new(&name).unwrap();
        writer.write(b"left").await.unwrap();
        drop(dead);
        // A writer that has not noticed keeps what is in it.
        let mut reader = FifoReader::bind(&name).unwrap();
        writer.write(b"next").await.unwrap();
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"leftnext");
        drop(reader);
        assert!(matches!(writer.write(b"lost").await.unwrap_err(), ConnectError::NotFound { .. }));
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_is_found_by_the_next_write() {
        let name = unique();
        let mut writer = FifoWriter::new(&name).unwrap();
        assert!(matches!(writer.write(b"x").await.unwrap_err(), ConnectError::NotFound { .. }));
        for _ in 0..3 {
            let mut reader = FifoReader::bind(&name).unwrap();
            writer.write(b"here").await.unwrap();
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).await.unwrap();
            // Its successor has the name before it is gone.
            reader.give_up_name();
            assert!(!name.path().exists());
        }
        assert!(matches!(writer.write(b"x").await.unwrap_err(), ConnectError::NotFound { .. }));
    }

    #[tokio::test]
    async fn a_full_one_makes_writers_wait_and_who_gives_up_has_written_nothing() {
        let name = unique();
        let mut reader = FifoReader::bind(&name).unwrap();
        let mut writer = FifoWriter::new(&name).unwrap();
        let record = [7; 1000];
        let mut written = 0;
        loop {
            let write = writer.write(&record);
            match futures::future::poll_immediate(std::pin::pin!(write)).await {
                Some(done) => done.unwrap(),
                None => break,
            }
            written += 1;
        }
        assert!(written > 30, "{written}");
        let waiting = tokio::spawn(async move { writer.write(&record).await.map(|()| writer) });
        let mut bytes = vec![0; (written + 1) * record.len()];
        reader.read_exact(&mut bytes).await.unwrap();
        let mut writer = waiting.await.unwrap().unwrap();
        // The one that was given up is not among them.
        writer.write(b"last").await.unwrap();
        reader.read_exact(&mut bytes[..4]).await.unwrap();
        assert_eq!(&bytes[..4], b"last");
        let error = writer.write(&[0; FifoWriter::LONGEST + 1]).await.unwrap_err();
        let ConnectError::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn writers_do_not_come_between_each_others_bytes() {
        let name = unique();
        let mut reader = FifoReader::bind(&name).unwrap();
        // Another writer's, so that theirs do not fall on the system's own bounds.
        fs::write(name.path(), [0; 8]).unwrap();
        let writers = (1..=4).map(|byte| {
            let name = name.clone();
            tokio::spawn(async move {
                let mut writer = FifoWriter::new(&name).unwrap();
                for _ in 0..200 {
                    writer.write(&[byte; FifoWriter::LONGEST]).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut all = vec![0; 8 + 4 * 200 * FifoWriter::LONGEST];
        reader.read_exact(&mut all).await.unwrap();
        all.retain(|&byte| byte != 0);
        assert!(all.chunks(FifoWriter::LONGEST).all(|record| record.iter().all(|&byte| byte == record[0])));
        for writer in writers {
            writer.await.unwrap();
        }
    }

    #[tokio::test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    async fn a_fifo_that_is_removed_is_made_again_and_the_old_one_is_read_on() {
        let name = unique();
        let mut reader = FifoReader::bind(&name).unwrap();
        let mut old = FifoWriter::new(&name).unwrap();
        old.write(b"before").await.unwrap();
        fs::remove_file(name.path()).unwrap();
        old.write(b"behind").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut bytes = vec![0; 17];
            reader.read_exact(&mut bytes).await.map(|_| (bytes, reader))
        });
        let mut new = FifoWriter::new(&name).unwrap();
        while let Err(error) = new.write(b"again").await {
            assert!(matches!(error, ConnectError::NotFound { .. }), "{error}");
            tokio::task::yield_now().await;
        }
        let (bytes, mut reader) = reading.await.unwrap().unwrap();
        assert_eq!(bytes, b"beforebehindagain");
        // Both are read, however their writes come.
        let mut bytes = [0; 4];
        for text in [b"new1", b"old1", b"old2", b"new2"] {
            if text.starts_with(b"new") { &mut new } else { &mut old }.write(text).await.unwrap();
            reader.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, text);
        }
        drop(old);
        new.write(b"last").await.unwrap();
        reader.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"last");
        drop(reader);
        assert!(!name.path().exists() && !Path::new(&lock_of(&name)).exists());
    }
}
