//! On something else.

#[panpipe::service]
struct Store;

#[panpipe::service]
impl Store {}

fn main() {}
