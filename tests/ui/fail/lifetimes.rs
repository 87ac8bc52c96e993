//! On traits that cannot be services.

#[panpipe::service]
trait Borrowing<'a> {
    async fn get(&self) -> String;
}

#[panpipe::service]
trait Counted<const N: usize> {
    async fn get(&self) -> String;
}

#[panpipe::service]
unsafe trait Dangerous {
    async fn get(&self) -> String;
}

fn main() {}
