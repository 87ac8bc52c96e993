//! A call that fails is the only one that does.

use panpipe::{CallError, ServiceClient};
use panpipe_tests::probe::{Nested, Odd, ProbeClient};

use crate::common::{client, server};

/// The service as another version of the program has it.
mod later {
    #[panpipe::service]
    pub trait Probe {
        /// Another result.
        async fn add(&self, a: u64, b: u64) -> u32;
        /// A method that is new.
        async fn subtract(&self, a: u64, b: u64) -> u64;
        /// As it was, but in another place.
        async fn echo(&self, bytes: Vec<u8>) -> Vec<u8>;
        /// No longer one that answers.
        #[oneway]
        async fn counts(&self);
        #[oneway]
        async fn forgotten(&self, x: u64);
    }
}

async fn still_works(probe: &ProbeClient) {
    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.close_reason(), None);
}

#[tokio::test]
async fn a_panic_fails_its_call_alone() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    for late in [false, true] {
        let beside = probe.wait(20);
        assert_eq!(probe.panic(late).await, Err(CallError::Panicked));
        assert_eq!(beside.await, Ok(20));
        still_works(&probe).await;
    }
}

#[tokio::test]
async fn values_whose_own_code_fails_or_panics_fail_their_calls_alone() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    assert_eq!(probe.odd(Odd::Fine).await, Ok(Odd::Fine));
    let Err(CallError::Malformed(why)) = probe.odd(Odd::FailsToEncode).await else { panic!("it was sent") };
    assert!(why.contains("I will not be encoded"), "{why}");
    let Err(CallError::Malformed(why)) = probe.odd(Odd::FailsToDecode).await else { panic!("it ran") };
    assert!(why.contains("the arguments of Probe.odd") && why.contains("I will not be decoded"), "{why}");
    assert_eq!(probe.odd(Odd::PanicsInDecode).await, Err(CallError::Panicked));
    let Err(CallError::Malformed(why)) = probe.odd(Odd::ReplyFailsToEncode).await else { panic!("it came") };
    assert!(why.contains("I will not be encoded"), "{why}");
    assert_eq!(probe.odd(Odd::ReplyPanicsInEncode).await, Err(CallError::Panicked));
    still_works(&probe).await;
    // The caller's own panic is the caller's; the connection is whole.
    let panicking = tokio::spawn({
        let probe = probe.clone();
        async move { probe.odd(Odd::PanicsInEncode).await }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    still_works(&probe).await;
}

#[tokio::test]
async fn a_method_of_another_version_is_unknown_and_never_misread() {
    let (_server, name) = server(&[]);
    let probe = later::ProbeClient::connect(&name).await.unwrap();
    assert_eq!(probe.add(1, 2).await, Err(CallError::UnknownMethod));
    assert_eq!(probe.subtract(1, 2).await, Err(CallError::UnknownMethod));
    assert_eq!(probe.echo(vec![1]).await, Ok(vec![1]));
    // Of a one-way call nobody hears; the connection goes on.
    probe.counts().await.unwrap();
    probe.forgotten(1).await.unwrap();
    assert_eq!(probe.echo(vec![2]).await, Ok(vec![2]));
}

#[tokio::test]
async fn what_nests_too_deep_is_refused_on_either_side() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let Err(CallError::Malformed(why)) = probe.depth(Nested::deep(300)).await else { panic!("it ran") };
    assert!(why.contains("deep"), "{why}");
    still_works(&probe).await;
}
