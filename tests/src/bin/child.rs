//! A child that its parent calls: `child WHAT`.

use std::process::ExitCode;

use panpipe::NoService;
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::system;
use panpipe_tests::worker::{Worker, WorkerImpl};

#[tokio::main]
async fn main() -> ExitCode {
    let what = std::env::args().nth(1).expect("child WHAT");
    let served = match what.as_str() {
        "probe" => panpipe::serve_parent(|_: NoService| Prober::default().serve()).await,
        "worker" => panpipe::serve_parent(|host: ProbeClient| WorkerImpl { host }.serve()).await,
        "worker-small-pipes" => {
            shrink_pipes();
            panpipe::serve_parent(|host: ProbeClient| WorkerImpl { host }.serve()).await
        }
        "fds" => {
            println!("{:?}", system::own_fds());
            return ExitCode::SUCCESS;
        }
        "exit" => return ExitCode::from(7),
        other => panic!("{other} is nothing to do"),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the pipes to and from the parent as small as they can be.
fn shrink_pipes() {
    let handles = std::env::var("PANPIPE_HANDLES").expect("the parent passed them");
    for handle in handles.split(',') {
        // Opened again it is the same pipe.
        let pipe = std::fs::File::open(format!("/proc/self/fd/{handle}"))
            .or_else(|_| std::fs::File::create(format!("/proc/self/fd/{handle}")))
            .expect("a process can open its own pipes");
        rustix::pipe::fcntl_setpipe_size(&pipe, 4096).expect("a pipe can be made smaller");
    }
}
