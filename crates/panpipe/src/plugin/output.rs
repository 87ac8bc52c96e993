//! What a plugin prints: where it goes, and its last lines.

use std::collections::VecDeque;
use std::fmt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::guarded::guarded;
use crate::limits;

/// Where the lines go that a plugin prints.
#[derive(Clone)]
#[non_exhaustive]
pub enum Output {
    /// Where the host's own go, untouched and unseen. Of a standard error that goes
    /// there, no last lines are known when the plugin dies.
    Inherit,
    /// Nowhere.
    Null,
    /// To the host's standard error, line by line.
    Copy,
    /// To `tracing`, with the plugin's name: what is printed to the standard error as
    /// warnings, the rest as information.
    Trace,
    /// To this function, line by line, without the line's end. Bytes that are no UTF-8
    /// are replaced; a line of more than 8 KiB comes in pieces. The function is called
    /// in a task: while it blocks the plugin may have to wait, and others too.
    Lines(Arc<dyn Fn(&str) + Send + Sync>),
}

impl Output {
    /// Gives each line to `f`.
    pub fn lines(f: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Output::Lines(Arc::new(f))
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Output::Null)
    }

    pub(super) fn stdio(&self) -> Stdio {
        match self {
            Output::Inherit => Stdio::inherit(),
            Output::Null => Stdio::null(),
            Output::Copy | Output::Trace | Output::Lines(_) => Stdio::piped(),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Output::Inherit => "Inherit",
            Output::Null => "Null",
            Output::Copy => "Copy",
            Output::Trace => "Trace",
            Output::Lines(_) => "Lines",
        })
    }
}

/// Which of the two streams a line was printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Error,
}

/// The last lines of what a plugin has printed to its standard error.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line.to_owned());
        let mut bytes: usize = lines.iter().map(String::len).sum();
        while lines.len() > limits::STDERR_TAIL_LINES || bytes > limits::STDERR_TAIL_BYTES {
            bytes -= lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// The lines, with line ends between them.
    pub(super) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Reads what a plugin prints until it prints no more.
pub(super) async fn drain(
    name: Arc<str>,
    mut from: impl AsyncRead + Unpin,
    stream: Stream,
    output: Output,
    tail: Tail,
) {
    let mut lines = Lines::default();
    let mut bytes = vec![0; limits::OUTPUT_LINE];
    // Written off the runtime's threads: it may be a pipe that nobody reads.
    let mut host = tokio::io::stderr();
    loop {
        let n = from.read(&mut bytes).await.unwrap_or(0);
        let mut copied = String::new();
        let mut take = |line: &str| {
            if stream == Stream::Error {
                tail.push(line);
            }
            match &output {
                Output::Lines(f) => guarded("Output::lines", || f(line)),
                Output::Trace if stream == Stream::Error => tracing::warn!(plugin = %name, "{line}"),
                Output::Trace => tracing::info!(plugin = %name, "{line}"),
                Output::Copy => {
                    copied.push_str(line);
                    copied.push('\n');
                }
                Output::Inherit | Output::Null => {}
            }
        };
        if n == 0 {
            lines.end(&mut take);
        } else {
            lines.feed(&bytes[..n], &mut take);
        }
        if !copied.is_empty() {
            // A host without a standard error does not want to see it.
            let _ = host.write_all(copied.as_bytes()).await;
            let _ = host.flush().await;
        }
        if n == 0 {
            return;
        }
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(&bytes[..end]);
            self.give(take);
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() >= limits::OUTPUT_LINE {
            self.give(take);
        }
    }

    fn end(&mut self, take: &mut impl FnMut(&str)) {
        if !self.begun.is_empty() {
            self.give(take);
        }
    }

    fn give(&mut self, take: &mut impl FnMut(&str)) {
        let line = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
        take(&String::from_utf8_lossy(line));
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let mut take = |line: &str| all.push(line.to_owned());
        pieces.iter().for_each(|piece| lines.feed(piece, &mut take));
        lines.end(&mut take);
        all
    }

    #[test]
    fn lines_are_cut_wherever_the_reads_end() {
        assert_eq!(cut(&[b"one\ntw", b"o\r\n\n", b"three"]), ["one", "two", "", "three"]);
        assert_eq!(cut(&[b"\xff\n"]), ["\u{fffd}"]);
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_given_in_pieces() {
        let long = vec![b'x'; limits::OUTPUT_LINE];
        let pieces = cut(&[&long, &long, b"y\n"]);
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [long.len(), long.len(), 1]);
    }

    #[test]
    fn the_tail_keeps_the_last_lines_and_no_more() {
        let tail = Tail::default();
        (0..1000).for_each(|line| tail.push(&format!("line {line}")));
        let text = tail.text();
        assert_eq!(text.lines().count(), limits::STDERR_TAIL_LINES);
        assert!(text.ends_with("line 999"));
        tail.push(&"x".repeat(limits::STDERR_TAIL_BYTES * 2));
        assert!(tail.text().len() <= limits::STDERR_TAIL_BYTES);
    }
}
