//! Calls the probe from a process of its own: `client NAME WHAT`.

use std::process::ExitCode;
use std::time::Duration;

use panpipe_tests::probe::ProbeClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [name, what] = args.as_slice() else { panic!("client NAME WHAT") };
    let probe = match ProbeClient::connect(name).wait(Duration::from_secs(10)).await {
        Ok(probe) => probe,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match what.as_str() {
        "hang" => println!("{:?}", probe.hang().await),
        "about" => println!("{:?}", probe.about_me().await),
        "ten" => {
            for x in 0..10 {
                println!("{:?}", probe.add(x, 1000).await);
            }
        }
        other => panic!("{other} is nothing to do"),
    }
    ExitCode::SUCCESS
}
