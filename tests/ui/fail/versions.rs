//! Versions, and methods that begin at one.

#[panpipe::service(version = 3, versions = 3..=4)]
trait Both {
    #[since(9)]
    async fn nothing_is_said_of_it(&self);
}

#[panpipe::service(versions = 4..=3)]
trait Reversed {}

#[panpipe::service(versions = 3..4)]
trait HalfOpen {}

#[panpipe::service(versions = 3..=newest)]
trait Wordy {}

#[panpipe::service(versions = 3..=5, versions = 3..=5)]
trait Twice {}

#[panpipe::service(name = "methods", versions = 3..=5)]
trait Methods {
    #[since(3)]
    async fn from_the_start(&self);
    #[since(6)]
    async fn too_new(&self);
    #[since("4")]
    async fn worded(&self);
    #[since(4)]
    #[since(5)]
    async fn twice(&self);
    #[since]
    async fn bare(&self);
    #[since(4)]
    async fn sound(&self);
}

#[panpipe::service(version = 3)]
trait One {
    #[since(3)]
    async fn only(&self);
}

fn main() {}
