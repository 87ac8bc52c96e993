//! Two programs without a runtime: a parent calls its child and reads a stream of it, with
//! no async in the parent and none but the handlers' in the child.
//!
//! `cargo run --example blocking`

use std::env;
use std::error::Error;
use std::process::Command;
use std::thread;
use std::time::Duration;

use panpipe::{NoService, Streaming};

/// What the child does for its parent.
#[panpipe::service]
pub trait Primes {
    /// Whether a number is prime.
    async fn is_prime(&self, x: u64) -> bool;
    /// All primes below a number, as they are found.
    async fn below(&self, end: u64) -> Streaming<u64>;
}

struct Sieve;

fn is_prime(x: u64) -> bool {
    x > 1 && (2..).take_while(|divisor| divisor * divisor <= x).all(|divisor| x % divisor != 0)
}

impl Primes for Sieve {
    async fn is_prime(&self, x: u64) -> bool {
        is_prime(x)
    }

    async fn below(&self, end: u64) -> Streaming<u64> {
        Streaming::new(futures::stream::iter((2..end).filter(|x| is_prime(*x))))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("child") {
        return Ok(panpipe::serve_parent_blocking(|_: NoService| Sieve.serve())?);
    }
    let mut command = Command::new(env::current_exe()?);
    command.arg("child");
    let child = panpipe::spawn(command).start_blocking::<PrimesClient>()?;
    let primes = child.client();
    for x in [91, 97] {
        println!("{x} is prime: {}", primes.with_timeout(Duration::from_secs(5)).is_prime(x)?);
    }
    // A stream is an iterator; who leaves it stops it at the other side.
    for prime in primes.below(u64::MAX)?.into_iter().take(5) {
        println!("a prime: {}", prime?);
    }
    // One connection, many threads.
    let found: usize = thread::scope(|scope| {
        let halves = [2..500, 500..1000]
            .map(|half| scope.spawn(move || half.filter(|x| primes.is_prime(*x) == Ok(true)).count()));
        halves.map(|half| half.join().unwrap_or(0)).iter().sum()
    });
    println!("{found} primes are below 1000");
    println!("the child has ended: {}", child.shutdown(Duration::from_secs(2))?);
    Ok(())
}
