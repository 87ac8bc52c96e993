//! One-way calls, of which more come than may run at once.

use panpipe_tests::studio::numbers;
use panpipe_tests::{PATIENCE, eventually};

use crate::common::{studio, studio_client};

#[tokio::test]
async fn all_of_them_run_however_few_at_once() {
    for cap in ["max_calls=1", "max_calls=2"] {
        let (_server, _, studio) = studio(&[cap]).await;
        for _ in 0..20_000 {
            studio.tick().await.unwrap();
        }
        eventually("all have run", PATIENCE, async || studio.ticks().await == Ok(20_000)).await;
    }
}

#[tokio::test]
async fn one_that_needs_something_of_its_caller_gets_it_while_others_wait() {
    let (_server, _, studio) = studio(&["max_calls=1"]).await;
    // The first fills the place, and reads what comes behind the others.
    studio.note_all(numbers(100_000)).await.unwrap();
    for _ in 0..100 {
        studio.tick().await.unwrap();
    }
    eventually("the first has read all", PATIENCE, async || studio.noted().await.unwrap().len() == 100_000)
        .await;
    eventually("the others have run", PATIENCE, async || studio.ticks().await == Ok(100)).await;
}

#[tokio::test]
async fn those_that_wait_when_their_caller_goes_run_all_the_same() {
    let (_server, name, studio) = studio(&["max_calls=1"]).await;
    let other = studio_client(&name).await;
    for _ in 0..5_000 {
        other.tick().await.unwrap();
    }
    drop(other);
    eventually("all have run", PATIENCE, async || studio.ticks().await == Ok(5_000)).await;
}
