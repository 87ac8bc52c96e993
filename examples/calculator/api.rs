//! What the two programs share: the service and its types.

use serde::{Deserialize, Serialize};

/// A calculator.
#[panpipe::service]
pub trait Calculator {
    /// The sum.
    async fn add(&self, a: f64, b: f64) -> f64;
    /// The quotient.
    async fn divide(&self, a: f64, b: f64) -> Result<f64, CalculatorError>;
    /// Remembers a number. Nothing comes back.
    #[oneway]
    async fn remember(&self, x: f64);
    /// The number remembered last.
    #[timeout("1s")]
    async fn remembered(&self) -> Option<f64> {
        None
    }
}

/// What a calculator cannot do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum CalculatorError {
    /// The divisor is nought.
    #[error("{0} cannot be divided by nought")]
    ByNought(f64),
}

/// The name that the server listens on.
pub const NAME: &str = "panpipe.example.calculator";
