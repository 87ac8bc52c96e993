//! Calculates: `cargo run --example calculator_client`, while the server runs.

pub mod api;

use std::error::Error;
use std::time::Duration;

use api::{CalculatorClient, CalculatorError, NAME};
use panpipe::CallError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let calculator = CalculatorClient::connect(NAME).wait(Duration::from_secs(10)).await?;
    println!("1 + 2 = {}", calculator.add(1.0, 2.0).await?);
    println!("1 / 4 = {}", calculator.divide(1.0, 4.0).await?);
    match calculator.divide(1.0, 0.0).await {
        Err(CallError::App(CalculatorError::ByNought(x))) => {
            println!("{x} / 0 = an error of the service's own")
        }
        other => println!("unexpected: {other:?}"),
    }
    calculator.remember(42.0).await?;
    println!("remembered: {:?}", calculator.remembered().await?);
    Ok(())
}
