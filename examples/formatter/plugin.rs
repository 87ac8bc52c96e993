//! The plugin. It is of no use by itself: try it.

pub mod api;

use std::process::ExitCode;

use api::Formatter;
use panpipe::NoService;

struct OneStatementALine;

impl Formatter for OneStatementALine {
    async fn format(&self, source: String) -> String {
        source
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| format!("{part};\n"))
            .collect()
    }
}

fn main() -> ExitCode {
    panpipe::plugin_main(api::COOKIE, |_: NoService| OneStatementALine.serve())
}
