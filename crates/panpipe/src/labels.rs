//! What few calls carry beside their arguments: a trace, metadata.

use std::sync::Arc;

use crate::metadata::{Metadata, MetadataSet};
use crate::trace::TraceContext;

/// The trace and the metadata of a call. A call that has neither has no labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) trace: Option<TraceContext>,
    pub(crate) metadata: Option<MetadataSet>,
}

impl Labels {
    /// A trace and no metadata.
    #[cfg(feature = "tarpc")]
    pub(crate) fn of_trace(trace: TraceContext) -> Arc<Labels> {
        Arc::new(Labels { trace: Some(trace), metadata: None })
    }

    /// The same metadata in another trace.
    pub(crate) fn in_trace(labels: Option<&Labels>, trace: TraceContext) -> Arc<Labels> {
        let metadata = labels.and_then(|labels| labels.metadata.clone());
        Arc::new(Labels { trace: Some(trace), metadata })
    }
}

/// The metadata that a client's calls carry.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientMetadata {
    /// Its own values. They are what a call carries that inherits nothing, so that such calls
    /// share them.
    own: Option<Arc<Labels>>,
    /// Whether its calls carry those of the call that is being answered too.
    inherits: bool,
}

impl ClientMetadata {
    /// The same, and one more value.
    pub(crate) fn with<M: Metadata>(&self, value: &M) -> Self {
        let before = self.own.as_ref().and_then(|own| own.metadata.as_ref());
        let metadata = Some(MetadataSet::with(before, value));
        ClientMetadata { own: Some(Arc::new(Labels { trace: None, metadata })), ..self.clone() }
    }

    /// The same, and those of the call that is being answered.
    pub(crate) fn inheriting(&self) -> Self {
        ClientMetadata { inherits: true, ..self.clone() }
    }
}

/// The labels of a call that is made by a client with this metadata, while a call with these
/// labels is being answered.
pub(crate) fn labels_of_call(
    metadata: Option<&ClientMetadata>,
    inherited: Option<Arc<Labels>>,
) -> Option<Arc<Labels>> {
    let own = metadata.and_then(|metadata| metadata.own.as_ref());
    let inherits = metadata.is_some_and(|metadata| metadata.inherits);
    let Some(inherited) = inherited else { return own.cloned() };
    let values = match (own.and_then(|own| own.metadata.as_ref()), &inherited.metadata) {
        // Nothing to add, and nothing to leave out.
        (None, None) => return Some(inherited),
        (None, Some(_)) if inherits => return Some(inherited),
        (None, Some(_)) => None,
        (Some(values), Some(before)) if inherits => Some(values.over(before)),
        (Some(values), _) => Some(values.clone()),
    };
    match (inherited.trace, values) {
        (None, None) => None,
        (trace, metadata) => Some(Arc::new(Labels { trace, metadata })),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct One(u8);

    impl Metadata for One {
        const NAME: &'static str = "one";
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two(u8);

    impl Metadata for Two {
        const NAME: &'static str = "two";
    }

    const TRACE: TraceContext = TraceContext { trace_id: 5, span_id: 6, sampled: true };

    fn answered(trace: Option<TraceContext>) -> Option<Arc<Labels>> {
        Some(Arc::new(Labels { trace, metadata: Some(MetadataSet::with(None, &One(1))) }))
    }

    /// The trace and the values of the labels.
    fn read(labels: Option<Arc<Labels>>) -> (Option<TraceContext>, Option<One>, Option<Two>) {
        let Some(labels) = labels else { return (None, None, None) };
        let Some(metadata) = &labels.metadata else { return (labels.trace, None, None) };
        (labels.trace, metadata.get().unwrap(), metadata.get().unwrap())
    }

    #[test]
    fn a_trace_is_inherited_and_metadata_are_not() {
        assert_eq!(read(labels_of_call(None, answered(Some(TRACE)))), (Some(TRACE), None, None));
        assert_eq!(labels_of_call(None, answered(None)), None);
        let own = ClientMetadata::default().with(&Two(2));
        let labels = labels_of_call(Some(&own), answered(Some(TRACE)));
        assert_eq!(read(labels), (Some(TRACE), None, Some(Two(2))));
    }

    #[test]
    fn metadata_are_inherited_on_request() {
        let inheriting = ClientMetadata::default().inheriting();
        assert_eq!(read(labels_of_call(Some(&inheriting), answered(None))), (None, Some(One(1)), None));
        assert_eq!(labels_of_call(Some(&inheriting), None), None);
        let both = inheriting.with(&Two(2));
        let labels = labels_of_call(Some(&both), answered(Some(TRACE)));
        assert_eq!(read(labels), (Some(TRACE), Some(One(1)), Some(Two(2))));
        let replaced = both.with(&One(9));
        assert_eq!(read(labels_of_call(Some(&replaced), answered(None))).1, Some(One(9)));
    }

    #[test]
    fn calls_that_add_nothing_share_the_labels() {
        let own = ClientMetadata::default().with(&Two(2));
        let (one, other) = (labels_of_call(Some(&own), None), labels_of_call(Some(&own), None));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        let labels = answered(Some(TRACE)).unwrap();
        let inheriting = ClientMetadata::default().inheriting();
        let inherited = labels_of_call(Some(&inheriting), Some(Arc::clone(&labels)));
        assert!(Arc::ptr_eq(&labels, &inherited.unwrap()));
    }
}
