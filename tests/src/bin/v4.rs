//! The host and the plugin of version 4: see `tests/versions/v4`.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    panpipe_tests_v4::run(std::env::args().skip(1).collect()).await
}
