//! The attribute's own words.

#[panpipe::service(nmae = "store")]
trait Misspelt {}

#[panpipe::service(name = "")]
trait Nameless {}

#[panpipe::service(name = "a", name = "b")]
trait Twice {}

#[panpipe::service(version = "one")]
trait Wordy {}

fn main() {}
