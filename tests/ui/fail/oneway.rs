//! What does not fit one direction.

/// Some of its methods answer.
#[panpipe::service]
trait Mixed {
    #[oneway]
    async fn line(&self, text: String);
    async fn lines(&self) -> u64;
}

/// There is nothing to call.
#[panpipe::service]
trait Empty {}

/// Fits.
#[panpipe::service]
trait Fits<T: Send> {
    #[oneway]
    async fn line(&self, text: T);
}

struct Nothing;

impl Mixed for Nothing {
    async fn line(&self, _: String) {}
    async fn lines(&self) -> u64 {
        0
    }
}

impl Empty for Nothing {}

impl Fits<String> for Nothing {
    async fn line(&self, _: String) {}
}

fn main() {
    let _ = panpipe::oneway::serve("log", Mixed::serve(Nothing));
    let _ = panpipe::oneway::connect::<MixedClient>("log");
    let _ = panpipe::oneway::serve_reader(tokio::io::empty(), Empty::serve(Nothing));
    let _ = panpipe::oneway::serve("log", Fits::serve(Nothing));
    let _ = panpipe::oneway::connect::<FitsClient<String>>("log");
}
