//! `#[ordered]` that says too much.

#[panpipe::service]
pub trait Arguments {
    #[ordered(per_client)]
    async fn run(&self);
}

#[panpipe::service]
pub trait Twice {
    #[ordered]
    #[ordered]
    async fn run(&self);
}

#[panpipe::service]
#[ordered = "all"]
#[ordered]
pub trait OfTheTrait {
    async fn run(&self);
}

#[panpipe::service]
#[ordered]
pub trait Both {
    #[ordered]
    async fn run(&self);
}

#[panpipe::service]
pub trait Conditional {
    #[cfg_attr(all(), ordered)]
    async fn run(&self);
}

fn main() {}
