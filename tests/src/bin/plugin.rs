//! A plugin, or something that is none: `plugin WHAT`.

use std::io::Write;
use std::process::ExitCode;

use panpipe_tests::plug::{COOKIE, HostClient, Plug, Plugged};
use panpipe_tests::sys;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref().unwrap_or("good") {
        "good" => panpipe::plugin_main(COOKIE, |host: HostClient| Plugged { host }.serve()),
        "exit" => {
            eprintln!("first words");
            eprintln!("I have no licence to run");
            ExitCode::from(7)
        }
        "silent" => loop {
            std::thread::park();
        },
        "garbage" => {
            sys::pipe_to_host(COOKIE).write_all(b"Hello, host! I speak something else.\n").expect("it reads");
            loop {
                std::thread::park();
            }
        }
        "closes" => {
            sys::close_pipes_to_host(COOKIE);
            eprintln!("I have hung up");
            loop {
                std::thread::park();
            }
        }
        // Fails when it is started again.
        "once" => {
            let mark = std::env::args().nth(2).expect("plugin once FILE");
            if std::fs::File::create_new(&mark).is_err() {
                eprintln!("I have run once");
                return ExitCode::FAILURE;
            }
            panpipe::plugin_main(COOKIE, |host: HostClient| Plugged { host }.serve())
        }
        other => panic!("{other} is nothing to do"),
    }
}
