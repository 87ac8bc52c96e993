//! What a small call costs, counted rather than timed: instructions, system calls and
//! allocations of each side.
//!
//! `cargo run --release -p panpipe-costs` counts and compares with what is recorded in
//! `benches/costs/recorded.txt`; it fails where a call has become dearer. `-- record`
//! writes the file anew. Instructions need valgrind and system calls strace: what is
//! not installed is not counted, and the program says so.

mod count;
mod recorded;
mod sys;
mod work;

use std::process::ExitCode;

use rustix::thread::{CpuSet, sched_setaffinity};

fn main() -> ExitCode {
    // On one processor nothing spins: how often it does is a matter of time.
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).expect("there is a first processor");
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", place] => work::serve(place),
        ["server-blocking", _] => work::serve_blocking(),
        ["client", case, place, calls] => {
            let case = work::case(case).expect("a case");
            println!("{}", work::client(case, place, calls.parse().expect("a number of calls")));
        }
        ["record"] => recorded::write(&count::all()),
        [] => return recorded::compare(&count::all()),
        _ => {
            eprintln!("usage: panpipe-costs [record]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
