//! Layers of the tests' own.

use std::error::Error;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use panpipe::layer::{Call, Layer, Next, Outcome, Service};
use panpipe::{CallError, Refusal, RefusalReason};

use crate::probe::ProbeError;

type Answer<E> = Pin<Box<dyn Future<Output = Result<Outcome, E>> + Send>>;

/// Counts and times: writes down what each call came to. Clones have one list.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("nobody panics while holding the list")
    }

    /// What was written down: `Probe.add Ok(Value)`, or `Probe.hang dropped`.
    pub fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }
}

impl<S> Layer<S> for Tally {
    type Service = Tallied<S>;

    fn layer(&self, inner: S) -> Tallied<S> {
        Tallied { inner, tally: self.clone() }
    }
}

/// What [`Tally`] makes.
#[derive(Debug, Clone)]
pub struct Tallied<S> {
    inner: S,
    tally: Tally,
}

/// Writes a call down, at the latest when it is dropped.
struct Line {
    tally: Tally,
    text: Option<String>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tally.lock().extend(self.text.take());
    }
}

impl<S> Service<Call> for Tallied<S>
where
    S: Service<Call, Response = Outcome, Error: Display, Future: Send + 'static>,
{
    type Response = Outcome;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let name = call.info().name();
        let mut line = Line { tally: self.tally.clone(), text: Some(format!("{name} dropped")) };
        let start = std::time::Instant::now();
        let answer = self.inner.call(call);
        Box::pin(async move {
            let answer = answer.await;
            assert!(start.elapsed() < crate::PATIENCE);
            let line = &mut line;
            line.text = Some(match &answer {
                Ok(outcome) => format!("{name} {outcome:?}"),
                Err(error) => format!("{name} failed: {error}"),
            });
            answer
        })
    }
}

/// Does something else to each method of the probe.
#[derive(Debug, Clone, Copy)]
pub struct Decide;

impl Layer<Next> for Decide {
    type Service = Decided;

    fn layer(&self, next: Next) -> Decided {
        Decided { next }
    }
}

/// What [`Decide`] makes.
#[derive(Debug, Clone)]
pub struct Decided {
    next: Next,
}

impl Service<Call> for Decided {
    type Response = Outcome;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Answer<Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.next.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (method, peer) = (call.info().method(), call.info().peer().clone());
        let answer = self.next.call(call);
        Box::pin(async move {
            match method {
                // Before it is passed on.
                "fail" => Err(ProbeError { why: "the layer would not".to_owned() }.into()),
                "first" => {
                    let message = format!("nothing first for {peer}");
                    Err(Refusal::new(RefusalReason::NotAllowed, message).into())
                }
                "depth" => Err(CallError::<panpipe::NoError>::Overloaded.into()),
                "note" => Err("it will not be noted".into()),
                "type" => Ok(Outcome::Value),
                "impatient" => panic!("as it was asked to"),
                "odd" => {
                    tokio::task::yield_now().await;
                    panic!("as it was asked to")
                }
                // Behind the reply.
                "large" => {
                    answer.await?;
                    // The caller uses the id again meanwhile.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    Err("it is too late to say so".into())
                }
                "echo" => {
                    answer.await?;
                    std::future::pending().await
                }
                "fail_bytes" => {
                    answer.await?;
                    panic!("as it was asked to, when it is too late")
                }
                // On a task of its own.
                "about_me" | "wait" => Ok(tokio::spawn(answer).await??),
                _ => Ok(answer.await?),
            }
        })
    }
}

/// A layer of tower's that the settings of a test program name.
pub fn timeout(millis: u64) -> tower::timeout::TimeoutLayer {
    tower::timeout::TimeoutLayer::new(Duration::from_millis(millis))
}
