//! The spans of calls, written down as they end.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// A span of panpipe's that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// `call` or `handle`.
    pub name: String,
    /// The method's full name.
    pub method: String,
    /// Who is at the other end.
    pub peer: String,
    /// How it ended.
    pub outcome: String,
    /// The trace, in hexadecimal digits.
    pub trace_id: String,
    /// What was logged inside of it.
    pub events: usize,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { name, method, outcome, trace_id, events, .. } = self;
        write!(f, "{name} {method} {outcome} {trace_id} {events}")
    }
}

impl Ended {
    /// Reads back what was displayed.
    pub fn parse(line: &str) -> Ended {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("the line has five words");
        let (name, method, outcome, trace_id) = (word(), word(), word(), word());
        let events = word().parse().expect("events are counted");
        Ended { name, method, outcome, trace_id, events, peer: String::new() }
    }
}

impl Visit for Ended {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "method" => self.method = value,
            "peer" => self.peer = value,
            "outcome" => self.outcome = value,
            "trace_id" => self.trace_id = value,
            _ => {}
        }
    }
}

type Tell = dyn Fn(Ended) + Send + Sync;

struct Spans(Box<Tell>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "panpipe" {
            return;
        }
        let mut span = Ended { name: attributes.metadata().name().to_owned(), ..Ended::default() };
        attributes.record(&mut span);
        context.span(id).expect("it is new").extensions_mut().insert(span);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("it is there");
        if let Some(ended) = span.extensions_mut().get_mut::<Ended>() {
            values.record(ended);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(ended) = span.extensions_mut().get_mut::<Ended>() {
                ended.events += 1;
            }
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("it closes only now");
        if let Some(ended) = span.extensions_mut().remove::<Ended>() {
            (self.0)(ended);
        }
    }
}

/// A subscriber that tells each span of panpipe's that has ended.
pub fn subscriber(tell: impl Fn(Ended) + Send + Sync + 'static) -> impl Subscriber + Send + Sync {
    Registry::default().with(Spans(Box::new(tell)))
}

/// Writes down what ends in this thread, until the guard is dropped.
pub fn collect() -> (Arc<Mutex<Vec<Ended>>>, tracing::subscriber::DefaultGuard) {
    let spans: Arc<Mutex<Vec<Ended>>> = Arc::default();
    let list = Arc::clone(&spans);
    let subscriber =
        subscriber(move |span| list.lock().expect("nobody panics while holding the list").push(span));
    (spans, tracing::subscriber::set_default(subscriber))
}
