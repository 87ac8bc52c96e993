//! The host and the plugin of version 6: see `tests/versions/v6`.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    panpipe_tests_v6::run(std::env::args().skip(1).collect()).await
}
