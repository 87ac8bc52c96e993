//! The client's side of a one-way pipe: each call is a record, written when it is made.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use panpipe_transport::{ConnectError, FifoWriter};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::record::{TooLarge, begin, finish, service_hash};
use crate::clock;
use crate::codec::Codec;
use crate::error::{CallError, Refusal, RefusalReason};
use crate::limits::{CONNECT_PAUSE, CONNECT_PAUSE_MOST, RECORD};
use crate::service::MethodInfo;
use crate::session::ServiceInfo;
use crate::type_check::{self, Part};

/// What carries the calls of a client whose pipe goes one way.
pub(crate) struct RecordWriter {
    service: u64,
    codec: Codec,
    /// How long a call waits for a reader.
    patience: Duration,
    longest: usize,
    /// Held while a record is written; who waits for it is served in order.
    sink: Mutex<Sink>,
}

pub(super) enum Sink {
    Fifo(FifoWriter),
    Any(AnyWriter),
}

/// Why a record was not written. Nothing of it will be read.
enum Unwritten {
    /// Nobody reads; somebody may again.
    NoReader,
    Failed(CallError),
}

impl RecordWriter {
    pub(super) fn new(service: &ServiceInfo, codec: Codec, patience: Duration, sink: Sink) -> Self {
        let longest = match sink {
            Sink::Fifo(_) => FifoWriter::LONGEST,
            Sink::Any(_) => RECORD,
        };
        RecordWriter { service: service_hash(service), codec, patience, longest, sink: Mutex::new(sink) }
    }

    /// A call as a record.
    pub(crate) fn record<A: Serialize + DeserializeOwned + 'static>(
        &self,
        info: &MethodInfo,
        args: &A,
    ) -> Result<Vec<u8>, CallError> {
        let codec = u8::try_from(self.codec.id()).expect("the numbers of codecs are small");
        let mut body = begin(self.service, codec, info.id);
        let carried = type_check::encode(info, Part::Arguments, self.codec, args, &mut body)
            .map_err(CallError::Malformed)?;
        let mut cargo = carried.unwrap_or_default();
        cargo.put_back(&mut body);
        if !cargo.offers.is_empty() {
            return Err(CallError::Unsupported(format!(
                "{} passes a stream, sender or client, to which a one-way pipe has no way back",
                info.name
            )));
        }
        finish(&body, self.longest).map_err(|TooLarge { size }| CallError::TooLarge {
            size: size as u64,
            limit: self.longest as u64,
        })
    }

    /// Writes a record. Ready when the system has all of it.
    pub(crate) async fn write(&self, record: Vec<u8>) -> Result<(), CallError> {
        // A patience past the end of the clock is one without end.
        let mut end = None;
        let mut pause = CONNECT_PAUSE;
        loop {
            match self.sink.lock().await.write(&record).await {
                Ok(()) => return Ok(()),
                Err(Unwritten::Failed(error)) => return Err(error),
                Err(Unwritten::NoReader) => {}
            }
            let end = *end.get_or_insert_with(|| clock::now().checked_add(self.patience));
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(clock::now()));
            if left.is_zero() {
                return Err(CallError::Disconnected { sent: false });
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MOST);
        }
    }
}

impl Sink {
    async fn write(&mut self, record: &[u8]) -> Result<(), Unwritten> {
        match self {
            Sink::Fifo(fifo) => fifo.write(record).await.map_err(Unwritten::from),
            Sink::Any(writer) => writer.write(record).await.map_err(|error| {
                tracing::debug!("a one-way pipe takes nothing more: {error}");
                Unwritten::Failed(CallError::Disconnected { sent: false })
            }),
        }
    }
}

impl From<ConnectError> for Unwritten {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotFound { .. } => Unwritten::NoReader,
            ConnectError::WrongOwner { .. } | ConnectError::Denied { .. } => {
                let refusal = Refusal { reason: RefusalReason::NotAllowed, message: error.to_string() };
                Unwritten::Failed(CallError::Refused(refusal))
            }
            other => {
                tracing::warn!("a one-way call was not sent: {other}");
                Unwritten::Failed(CallError::Disconnected { sent: false })
            }
        }
    }
}

/// A stream of the user's own, which may take a record in pieces.
pub(super) struct AnyWriter {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// The record that is being written: who made the call may have gone meanwhile.
    record: Vec<u8>,
    at: usize,
    failed: bool,
}

impl AnyWriter {
    pub(super) fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        AnyWriter { writer: Box::pin(writer), record: Vec::new(), at: 0, failed: false }
    }

    async fn write(&mut self, record: &[u8]) -> io::Result<()> {
        // One that was begun is finished, for the reader's sake; one that was not was given up.
        if self.at > 0 {
            poll_fn(|cx| self.poll_rest(cx)).await?;
        }
        self.record.clear();
        self.record.extend_from_slice(record);
        poll_fn(|cx| self.poll_rest(cx)).await
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(self.poll_written(cx));
        self.failed = written.is_err();
        self.at = 0;
        Poll::Ready(written)
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.record.len() {
            match ready!(self.writer.as_mut().poll_write(cx, &self.record[self.at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.at += n,
            }
        }
        self.writer.as_mut().poll_flush(cx)
    }
}
