//! What needs `unsafe`.

pub(crate) mod allocations;
