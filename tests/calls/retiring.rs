//! Listeners that end, and checks that were begun, without losing a client.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use panpipe_tests::unique_name;
use panpipe_transport::{Access, Listener, PipeStream, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A client that has said which one it is.
async fn client(name: &str, number: u8) -> PipeStream {
    let mut client = connect(name).await.unwrap();
    client.write_u8(number).await.unwrap();
    client
}

async fn number_of(mut accepted: PipeStream) -> u8 {
    accepted.read_u8().await.unwrap()
}

#[tokio::test]
async fn who_waits_when_the_name_is_given_up_is_accepted_still() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let listener = Listener::bind(name).unwrap();
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(client(name, number).await);
    }
    // What somebody has found who looks the name up just before.
    let found = folder.path().join("found");
    fs::hard_link(&path, &found).unwrap();
    let mut retired = listener.retire();
    assert!(!path.exists());
    let successor = Listener::bind(name).unwrap();
    let late = client(name, 100).await;
    let refused = UnixStream::connect(&found).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let mut seen = BTreeSet::new();
    while let Some(accepted) = retired.accept().await.unwrap() {
        seen.insert(number_of(accepted).await);
    }
    assert_eq!(seen, (0..100).collect());
    assert!(retired.accept_any().unwrap().is_none());
    assert_eq!(number_of(successor.accept().await.unwrap()).await, 100);
    drop((late, retired));
    // It was not the successor's name that was given up.
    assert!(path.exists());
}

/// A rule that answers once it may.
#[derive(Debug, Clone)]
struct SlowRule {
    asked: Arc<AtomicU32>,
    may_answer: Arc<Semaphore>,
}

impl SlowRule {
    fn new() -> SlowRule {
        SlowRule { asked: Arc::default(), may_answer: Arc::new(Semaphore::new(0)) }
    }

    fn access(&self) -> Access {
        let rule = self.clone();
        Access::when_async(move |_| {
            rule.asked.fetch_add(1, Ordering::Relaxed);
            let may_answer = Arc::clone(&rule.may_answer);
            async move { may_answer.acquire().await.map(SemaphorePermit::forget).is_ok() }
        })
    }

    /// Has the rule asked about the next client by calls that are dropped then, and by
    /// some more that go on with it.
    async fn ask<T>(&self, mut accept: impl AsyncFnMut() -> T) {
        let before = self.asked.load(Ordering::Relaxed);
        let mut after = 0;
        while after < 3 {
            tokio::select! {
                biased;
                _ = accept() => panic!("it may not answer yet"),
                () = tokio::task::yield_now() => {}
            }
            after += self.asked.load(Ordering::Relaxed) - before;
        }
        assert_eq!(self.asked.load(Ordering::Relaxed), before + 1);
    }
}

#[tokio::test]
async fn a_check_that_was_begun_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let path = folder.path().join("pipe");
    let name = path.to_str().unwrap();
    let rule = SlowRule::new();
    let listener = Listener::bind_for(name, rule.access()).unwrap();
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(client(name, number).await);
    }
    rule.ask(async || listener.accept().await).await;
    rule.may_answer.add_permits(1);
    assert_eq!(number_of(listener.accept().await.unwrap()).await, 0);
    rule.ask(async || listener.accept().await).await;
    assert_eq!(number_of(listener.accept_any().await.unwrap()).await, 1);
    // What has been begun before the name is given up is gone on with after.
    rule.ask(async || listener.accept().await).await;
    let mut retired = listener.retire();
    assert_eq!(number_of(retired.accept_any().unwrap().unwrap()).await, 2);
    rule.ask(async || retired.accept().await).await;
    rule.may_answer.add_permits(1);
    assert_eq!(number_of(retired.accept().await.unwrap().unwrap()).await, 3);
    assert!(retired.accept().await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_has_gone_again_does_not_fail_an_accept() {
    let name = unique_name("gone");
    let listener = Listener::bind(&name).unwrap();
    for _ in 0..50 {
        drop(connect(&name).await.unwrap());
    }
    let client = client(&name, 7).await;
    for _ in 0..50 {
        let mut gone = listener.accept().await.unwrap();
        assert_eq!(gone.peer().pid, Some(std::process::id()));
        assert_eq!(gone.read(&mut [0; 8]).await.unwrap(), 0);
    }
    assert_eq!(number_of(listener.accept().await.unwrap()).await, 7);
    drop(client);
}
