//! A call, as layers pass it on.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Work;
use crate::call::CallContext;
use crate::call_info::CallInfo;
use crate::local::InContext;

/// A call on its way through layers: what is known of it, and what makes it.
///
/// It is made by whoever hands it to [`Next`](super::Next); one that is dropped is not made.
/// It cannot be cloned: a call that has failed is made again by its caller.
pub struct Call {
    info: CallInfo,
    /// Behind a lock only to be `Sync`: a layer may hold a reference while it waits.
    work: Mutex<Work>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Call {
    /// A call of this side's.
    pub(crate) fn to_peer(info: CallInfo, work: Work) -> Self {
        Call { info, work: Mutex::new(work) }
    }

    /// A call of the peer's. Its handler knows it wherever the layers have it polled,
    /// and its panic ends there.
    pub(crate) fn of_peer(context: CallContext, work: Work) -> Self {
        let info = CallInfo::new(context.clone());
        let handler = InContext::new(context, work);
        Call::to_peer(info, Box::pin(async move { handler.await.map_err(Box::new)? }))
    }

    /// What is known of the call.
    #[must_use]
    pub fn info(&self) -> &CallInfo {
        &self.info
    }

    pub(super) fn into_work(self) -> Work {
        self.work.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
