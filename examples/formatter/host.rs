//! The host: `cargo build --examples`, then `cargo run --example formatter_host`.

pub mod api;

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use api::{COOKIE, FormatterClient};
use panpipe::Plugin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // It was built beside this program.
    let program = std::env::current_exe()?.with_file_name("formatter_plugin");
    let plugin = Plugin::spawn(Command::new(program)).cookie(COOKIE).start::<FormatterClient>().await?;
    print!("{}", plugin.client().format("let a = 1;let b=2 ;  print(a + b)".to_owned()).await?);
    plugin.shutdown(Duration::from_secs(2)).await?;
    Ok(())
}
