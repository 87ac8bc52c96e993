//! The host and the plugin of version 3: see `tests/versions/v3`.

// Of one thread: what is known before the other side has said anything is printed too.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    panpipe_tests_v3::run(std::env::args().skip(1).collect()).await
}
