//! Serves a calculator until ctrl-c: `cargo run --example calculator_server`.

pub mod api;

use std::sync::Mutex;

use api::{Calculator, CalculatorError, NAME};

#[derive(Default)]
struct Machine {
    memory: Mutex<Option<f64>>,
}

impl Calculator for Machine {
    async fn add(&self, a: f64, b: f64) -> f64 {
        a + b
    }

    async fn divide(&self, a: f64, b: f64) -> Result<f64, CalculatorError> {
        if b == 0.0 {
            return Err(CalculatorError::ByNought(a));
        }
        Ok(a / b)
    }

    async fn remember(&self, x: f64) {
        println!("{} has me remember {x}", panpipe::call::peer());
        *self.memory.lock().expect("nobody panics while holding the memory") = Some(x);
    }

    async fn remembered(&self) -> Option<f64> {
        *self.memory.lock().expect("nobody panics while holding the memory")
    }
}

#[tokio::main]
async fn main() -> Result<(), panpipe::ServeError> {
    println!("serving {NAME}, end with ctrl-c");
    panpipe::serve(NAME, Machine::default().serve()).await
}
