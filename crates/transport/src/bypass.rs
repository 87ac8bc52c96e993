//! A second way for the bytes of a connection: two pipes beside the socket of a named pipe.
//!
//! A pipe takes a small message at half of what a socket does, and a large one at twice
//! that. So a connection can have both, and each side goes on by the way that pays: it
//! [says so](PipeWriter::switch) on the one and goes on on the other, and who reads
//! [follows](PipeReader::switch). The bytes keep their order.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::blocking::{BlockingReader, BlockingWriter};
use crate::limits::BYPASSES;
use crate::peer::Peer;
use crate::stream::{PipeReader, PipeStream, PipeWriter};
use crate::sys;

/// The end of a bypass that is written.
#[derive(Debug)]
pub struct BypassWriter {
    half: sys::WriteHalf,
    /// Where this process has made it.
    _place: Option<Place>,
}

/// A bypass's place among those that this process has made.
#[derive(Debug)]
struct Place(&'static AtomicUsize);

static MADE: AtomicUsize = AtomicUsize::new(0);

impl Place {
    /// A place, if there is one.
    fn among(made: &'static AtomicUsize) -> Option<Place> {
        let before = made.fetch_add(1, Ordering::Relaxed);
        let place = Place(made);
        (before < BYPASSES).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a process is of this one's user.
fn is_own(peer: &Peer) -> bool {
    peer.uid.is_some() && peer.uid == sys::this_user()
}

impl PipeStream {
    /// Whether it can have a bypass: it is a socket of a system where there are bypasses.
    #[must_use]
    pub fn can_have_bypass(&self) -> bool {
        self.writer().half.can_have_bypass()
    }
}

impl PipeWriter {
    /// Makes a bypass, and passes the other side's ends of it on with `words`.
    fn pass_bypass<R>(
        &mut self,
        words: &[u8],
        peer: &Peer,
        make_read: impl FnOnce(sys::Handle) -> io::Result<R>,
    ) -> io::Result<R> {
        if !is_own(peer) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let place = Place::among(&MADE).ok_or(io::ErrorKind::QuotaExceeded)?;
        let (read, half) = self.half.pass_bypass(words, make_read)?;
        self.take_up(BypassWriter { half, _place: Some(place) });
        Ok(read)
    }

    /// Can go on on a bypass from here on.
    pub fn take_up(&mut self, bypass: BypassWriter) {
        let mut bypass = Box::new(bypass);
        bypass.half.works_like(&self.half);
        self.other = Some(bypass);
    }

    /// Whether it goes by the bypass now.
    #[inline]
    #[must_use]
    pub fn is_on_bypass(&self) -> bool {
        self.on_bypass
    }

    /// Goes on by the other way, of the bypass and the socket, from behind `words`, which tell
    /// the other side. They are to be short: they are written whole or not at all.
    ///
    /// # Errors
    ///
    /// `NotFound` without a bypass, `WouldBlock` when there is no room for `words`: then
    /// nothing has been written. Whatever else the system says.
    pub fn switch(&mut self, words: &[u8]) -> io::Result<()> {
        let other = self.other.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if self.half.try_write(words)? < words.len() {
            // No system that we know of does that. The stream is at its end.
            let _ = self.half.shut_down();
            return Err(io::ErrorKind::WriteZero.into());
        }
        mem::swap(&mut self.half, &mut other.half);
        self.on_bypass = !self.on_bypass;
        Ok(())
    }
}

impl BlockingWriter {
    /// As [`PipeWriter::take_up`].
    pub fn take_up(&mut self, bypass: BypassWriter) {
        self.0.take_up(bypass);
    }

    /// As [`PipeWriter::is_on_bypass`].
    #[inline]
    #[must_use]
    pub fn is_on_bypass(&self) -> bool {
        self.0.is_on_bypass()
    }

    /// As [`PipeWriter::switch`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn switch(&mut self, words: &[u8]) -> io::Result<()> {
        self.0.switch(words)
    }
}

impl PipeReader {
    /// From here on it takes a bypass that `peer`, which is at the other end, passes on. False:
    /// it takes none, since that is another user's process. Whoever makes a bypass could have
    /// the other side block in it.
    pub fn expects_bypass(&mut self, peer: &Peer) -> bool {
        let is_own = is_own(peer);
        if is_own {
            self.half.expects_bypass();
        }
        is_own
    }

    /// Takes up the bypass that the other side has passed on with what was read last. Gives the
    /// end that is to be [taken up](PipeWriter::take_up) by the writer.
    ///
    /// # Errors
    ///
    /// When none has been passed on, or something else.
    pub fn take_bypass(&mut self) -> io::Result<BypassWriter> {
        let (read, half) = self.half.take_bypass()?;
        self.other = Some(Box::new(read));
        Ok(BypassWriter { half, _place: None })
    }

    /// Makes a bypass, and has `writer` pass the other side's ends of it on with `words`, which
    /// that side has to [expect](Self::expects_bypass). Both can go on on it from here on.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room for `words`, and whatever the system says, mostly
    /// that there are too many open files or pipes. Nothing has been written then.
    pub fn pass_bypass(&mut self, writer: &mut PipeWriter, words: &[u8], peer: &Peer) -> io::Result<()> {
        let read = writer.pass_bypass(words, peer, sys::ReadHalf::new)?;
        self.other = Some(Box::new(read));
        Ok(())
    }

    /// Whether it has taken up a bypass.
    #[must_use]
    pub fn has_bypass(&self) -> bool {
        self.other.is_some()
    }

    /// Goes on by the other way, where the other side says so and there is one.
    pub fn switch(&mut self) {
        if let Some(other) = &mut self.other {
            mem::swap(&mut self.half, other);
            self.goes_on_elsewhere();
        }
    }
}

impl BlockingReader {
    /// As [`PipeReader::expects_bypass`].
    pub fn expects_bypass(&mut self, peer: &Peer) -> bool {
        let is_own = is_own(peer);
        if is_own {
            self.read.expects_bypass();
        }
        is_own
    }

    /// As [`PipeReader::take_bypass`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn take_bypass(&mut self) -> io::Result<BypassWriter> {
        let (read, half) = self.read.take_bypass()?;
        self.take_up(read);
        Ok(BypassWriter { half, _place: None })
    }

    /// As [`PipeReader::pass_bypass`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn pass_bypass(&mut self, writer: &mut BlockingWriter, words: &[u8], peer: &Peer) -> io::Result<()> {
        let read = writer.0.pass_bypass(words, peer, sys::BlockingRead::new)?;
        self.take_up(read);
        Ok(())
    }

    /// As [`PipeReader::has_bypass`].
    #[must_use]
    pub fn has_bypass(&self) -> bool {
        self.other.is_some()
    }

    /// As [`PipeReader::switch`].
    pub fn switch(&mut self) {
        if let Some(other) = &mut self.other {
            mem::swap(&mut self.read, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;
    use crate::{Listener, PipeName, connect};

    /// Both sides of a named pipe; none where it has no bypass.
    async fn named() -> Option<(PipeStream, PipeStream)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = PipeName::new(&format!("unit.bypass.{}.{next}", std::process::id())).unwrap();
        let listener = Listener::bind(&name).unwrap();
        let client = connect(&name).await.unwrap();
        let server = listener.accept().await.unwrap();
        client.can_have_bypass().then_some((client, server))
    }

    async fn read(reader: &mut PipeReader) -> Vec<u8> {
        let mut bytes = [0; 64];
        let read = timeout(Duration::from_secs(10), reader.read(&mut bytes)).await;
        let count = read.expect("what has come is told of").unwrap();
        bytes[..count].to_vec()
    }

    #[tokio::test]
    async fn each_side_goes_by_either_way_and_the_other_follows() {
        let Some((client, server)) = named().await else { return };
        assert!(server.can_have_bypass());
        let peer = server.peer();
        let (mut reader, mut writer) = client.into_split();
        let (mut their_reader, mut their_writer) = server.into_split();
        assert!(reader.expects_bypass(&peer));
        their_reader.pass_bypass(&mut their_writer, b"made", &peer).unwrap();
        assert_eq!(read(&mut reader).await, b"made");
        writer.take_up(reader.take_bypass().unwrap());
        for round in 0..4 {
            for (reader, writer) in [(&mut their_reader, &mut writer), (&mut reader, &mut their_writer)] {
                assert_eq!(writer.is_on_bypass(), round % 2 == 1);
                writer.switch(b"on").unwrap();
                writer.try_write(b"there").unwrap();
                assert_eq!(read(reader).await, b"on");
                assert!(reader.has_bypass());
                reader.switch();
                assert_eq!(read(reader).await, b"there");
            }
        }
        // Whoever goes does so by both.
        writer.switch(b"on").unwrap();
        assert_eq!(read(&mut their_reader).await, b"on");
        their_reader.switch();
        drop((reader, writer));
        assert_eq!(read(&mut their_reader).await, b"");
    }

    /// A read that something comes with ends there, however much is behind it.
    #[tokio::test]
    async fn what_comes_behind_the_word_that_a_bypass_is_made_is_told_of() {
        let Some((client, server)) = named().await else { return };
        let peer = server.peer();
        let (mut reader, _writer) = client.into_split();
        let (mut their_reader, mut their_writer) = server.into_split();
        reader.set_latency(crate::Latency::Asleep);
        assert!(reader.expects_bypass(&peer));
        // Read once, so that the event loop watches.
        their_writer.try_write(b"first").unwrap();
        assert_eq!(read(&mut reader).await, b"first");
        their_reader.pass_bypass(&mut their_writer, b"made", &peer).unwrap();
        their_writer.try_write(b"more").unwrap();
        assert_eq!(read(&mut reader).await, b"made");
        assert_eq!(read(&mut reader).await, b"more");
    }

    #[tokio::test]
    async fn another_users_process_has_none() {
        let Some((client, server)) = named().await else { return };
        let mut stranger = server.peer();
        stranger.uid = stranger.uid.map(|uid| uid + 1);
        let (mut reader, _) = client.into_split();
        let (mut their_reader, mut their_writer) = server.into_split();
        for peer in [stranger, Peer::unknown()] {
            assert!(!reader.expects_bypass(&peer));
            let error = their_reader.pass_bypass(&mut their_writer, b"made", &peer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
        assert_eq!(reader.take_bypass().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn where_there_is_no_room_nothing_is_said_and_nothing_changes() {
        let Some((client, server)) = named().await else { return };
        let peer = server.peer();
        let (mut reader, mut writer) = client.into_split();
        let (mut their_reader, their_writer) = server.into_split();
        assert!(their_reader.expects_bypass(&peer));
        assert_eq!(writer.switch(b"on").unwrap_err().kind(), io::ErrorKind::NotFound);
        reader.pass_bypass(&mut writer, b"made", &peer).unwrap();
        while writer.try_write(&[0; 4096]).is_ok() {}
        while writer.try_write(b"x").is_ok() {}
        assert_eq!(writer.switch(b"on").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let again = reader.pass_bypass(&mut writer, b"made", &peer);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(!writer.is_on_bypass());
        drop((their_reader, their_writer));
        assert_eq!(writer.switch(b"on").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_process_makes_so_many_and_no_more() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..2 * BYPASSES).filter_map(|_| Place::among(&MADE)).collect();
        assert!(places.len() == BYPASSES && Place::among(&MADE).is_none());
        places.pop();
        assert!(Place::among(&MADE).is_some());
    }
}
