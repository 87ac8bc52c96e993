//! Threads that wait by themselves: not on Windows yet, whose pipes here are opened for an
//! event loop. Nothing of this can be made.

use std::io;
use std::time::Duration;

use super::{Handle, Place, RetiredListener, WriteHalf};
use crate::access::Reach;
use crate::blocking::Ready;
use crate::error::{BindError, ConnectError};
use crate::peer::Peer;

/// The direction that is read, by a thread that waits in the read itself.
#[derive(Debug)]
pub(crate) enum BlockingRead {}

impl BlockingRead {
    pub(crate) fn try_read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn new(_: Handle) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        match *self {}
    }

    pub(crate) fn expects_bypass(&mut self) {
        match *self {}
    }

    pub(crate) fn take_bypass(&mut self) -> io::Result<(BlockingRead, WriteHalf)> {
        match *self {}
    }
}

/// Ends what is read.
#[derive(Debug)]
pub(crate) enum Interrupt {}

impl Interrupt {
    pub(crate) fn end_reading(&self) {
        match *self {}
    }
}

/// Where something can be written, some time.
#[derive(Debug)]
pub(crate) enum Room {}

impl WriteHalf {
    pub(crate) fn of_threads(self) -> Self {
        self
    }

    pub(crate) fn room(&self) -> Option<Room> {
        None
    }
}

/// Ends the wait of a thread.
#[derive(Debug)]
pub(crate) enum Bell {}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn ring(&self) {
        match *self {}
    }
}

pub(crate) fn wait(
    _: Option<&BlockingRead>,
    _: Option<&Room>,
    _: Option<&Bell>,
    _: Option<Duration>,
) -> io::Result<Ready> {
    Err(unsupported())
}

/// A name that is served by threads.
#[derive(Debug)]
pub(crate) enum BoundListener {}

impl BoundListener {
    pub(crate) fn bind(place: &Place, _: Reach) -> Result<Self, BindError> {
        Err(BindError::Io { path: place.to_string(), source: unsupported() })
    }

    pub(crate) fn accept(
        &self,
        _: &Bell,
        _: Option<Duration>,
    ) -> io::Result<Option<(BlockingRead, WriteHalf, Peer)>> {
        match *self {}
    }

    pub(crate) fn retire(self) -> RetiredListener {
        match self {}
    }
}

impl RetiredListener {
    pub(crate) fn accept_blocking(&mut self) -> io::Result<Option<(BlockingRead, WriteHalf, Peer)>> {
        Ok(None)
    }
}

pub(crate) fn take_handles_blocking(_: &str) -> io::Result<(BlockingRead, WriteHalf)> {
    Err(unsupported())
}

pub(crate) fn take_stdio_blocking() -> io::Result<(BlockingRead, WriteHalf)> {
    Err(unsupported())
}

pub(crate) fn connect_blocking(
    place: &Place,
    _: bool,
) -> Result<(BlockingRead, WriteHalf, Peer), ConnectError> {
    Err(ConnectError::Io { path: place.to_string(), source: unsupported() })
}

fn unsupported() -> io::Error {
    let why = "blocking pipes are not there on Windows yet; use the async client or server";
    io::Error::new(io::ErrorKind::Unsupported, why)
}
