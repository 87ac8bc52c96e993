//! The host and the plugin of version 3: see `tests/versions/v3`.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    panpipe_tests_v3::run(std::env::args().skip(1).collect()).await
}
