//! Names: in use, left behind, waited for, bad.

use std::time::{Duration, Instant};

use panpipe::{BindError, ConnectError, ServeError, Server};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::{raw, unique_name};

use crate::common::{client, client_process, server, server_at, server_command};

#[tokio::test]
async fn a_live_name_is_refused_and_its_server_unharmed() {
    let (server, name) = server(&[]);
    let mut second = panpipe_tests::process::Process::start(&mut server_command(&name, &[]));
    let words = second.line();
    assert!(words.contains(&name) && words.contains("is in use"), "{words}");
    assert!(!second.wait().success());
    assert_eq!(client(&name).await.add(1, 2).await, Ok(3));
    assert!(server.finish().success());
    assert!(!raw::path_of(&name).exists());
}

#[tokio::test]
async fn the_name_of_a_server_that_was_killed_is_taken_over() {
    let (mut first, name) = server(&[]);
    first.kill();
    assert!(raw::path_of(&name).exists());
    let error = ProbeClient::connect(&name).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotFound { .. }), "{error}");
    let second = server_at(&name, &[]);
    assert_eq!(client(&name).await.add(1, 2).await, Ok(3));
    assert!(second.finish().success());
    assert!(!raw::path_of(&name).exists());
}

#[tokio::test]
async fn a_server_that_is_not_up_yet_is_waited_for() {
    let name = unique_name("late");
    let connecting = tokio::spawn({
        let name = name.clone();
        async move { ProbeClient::connect(&name).wait(Duration::from_secs(30)).await }
    });
    tokio::task::yield_now().await;
    let _server = tokio::task::spawn_blocking({
        let name = name.clone();
        move || server_at(&name, &[])
    })
    .await
    .unwrap();
    assert_eq!(connecting.await.unwrap().unwrap().add(1, 2).await, Ok(3));
}

#[tokio::test]
async fn waiting_in_vain_ends_in_time_and_says_what_for() {
    let (name, start) = (unique_name("never"), Instant::now());
    let error = ProbeClient::connect(&name).wait(Duration::from_millis(200)).await.unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn waiting_for_a_server_costs_no_cpu() {
    let name = unique_name("never");
    let mut client = client_process(&name, "wait-in-vain");
    let used: u64 = client.line().parse().unwrap();
    assert!(client.wait().success());
    // A second of waiting takes a few hundred microseconds; one of polling, all of them.
    assert!(used < 100_000, "{used} µs");
}

#[tokio::test]
async fn a_bad_name_says_what_is_wrong() {
    for (name, words) in
        [("", "empty"), ("a/b", "slash"), ("..", "directory"), (&"x".repeat(300), "300 bytes long")]
    {
        let error = ProbeClient::connect(name).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let error = Server::bind(name).service(Prober::default().serve()).start().unwrap_err();
        assert!(matches!(error, ServeError::Bind(BindError::Name(_))), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_a_service_says_so() {
    let error = Server::bind(unique_name("none")).start().unwrap_err();
    assert!(error.to_string().contains("nothing to serve"), "{error}");
}

#[tokio::test]
async fn an_absolute_path_is_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pipe").to_str().unwrap().to_owned();
    let server = server_at(&path, &[]);
    assert_eq!(client(&path).await.add(1, 2).await, Ok(3));
    assert!(server.finish().success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
