//! Values go there and come back, over every codec.

use bytes::Bytes;
use futures::future::join_all;
use panpipe::{CallError, Codec};
use panpipe_tests::probe::{Nested, ProbeClient, ProbeError};

use crate::common::{client, client_process, server};

async fn all_kinds(probe: &ProbeClient) {
    assert_eq!(probe.echo(b"bytes".to_vec()).await.unwrap(), b"bytes");
    let large: Vec<u8> = (0..3_000_000u32).map(|x| x as u8).collect();
    assert_eq!(probe.echo(large.clone()).await.unwrap(), large);
    let word = Bytes::from_static(b"word");
    assert_eq!(probe.first(word.clone(), 2).await.unwrap(), Some(Bytes::from_static(b"wo")));
    assert_eq!(probe.first(word, 9).await.unwrap(), None);
    assert_eq!(probe.add(u64::MAX, 3).await.unwrap(), 2);
    assert_eq!(probe.fail(String::new()).await.unwrap(), 0);
    let why = || "because".to_owned();
    let expected = CallError::App(ProbeError { why: why() });
    assert_eq!(probe.fail(why()).await, Err(expected.clone()));
    assert_eq!(probe.fail_bytes(String::new()).await.unwrap(), [1, 2, 3]);
    assert_eq!(probe.fail_bytes(why()).await.unwrap_err().to_string(), expected.to_string());
    assert_eq!(probe.depth(Nested::deep(40)).await.unwrap(), 40);
    assert_eq!(probe.r#type(7).await.unwrap(), 7);
    assert_eq!(probe.defaulted(1).await.unwrap(), 2);
}

#[tokio::test]
async fn every_codec_carries_every_kind_of_value() {
    let (_server, name) = server(&[]);
    for codec in [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json] {
        let probe = ProbeClient::connect(&name).codec(codec).await.unwrap();
        all_kinds(&probe).await;
    }
}

#[tokio::test]
async fn a_thousand_calls_at_once_reach_their_own_callers() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let sums = join_all((0..1000).map(|x| probe.add(x, 5))).await;
    assert_eq!(sums, (0..1000).map(|x| Ok(x + 5)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_client_call_from_many_tasks() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    let tasks = (0..50u64).map(|task| {
        let probe = probe.clone();
        tokio::spawn(async move {
            for x in 0..50 {
                assert_eq!(probe.add(task * 1000, x).await.unwrap(), task * 1000 + x);
                let bytes = vec![task as u8; (x * 100) as usize];
                assert_eq!(probe.echo(bytes.clone()).await.unwrap(), bytes);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
}

#[test]
fn many_client_processes_share_a_server() {
    let (_server, name) = server(&[]);
    let clients: Vec<_> = (0..8).map(|_| client_process(&name, "ten")).collect();
    for client in clients {
        for x in 0..10 {
            client.wait_for(&format!("Ok({})", x + 1000));
        }
        assert!(client.finish().success());
    }
}

#[tokio::test]
async fn one_way_calls_run_in_order() {
    let (_server, name) = server(&[]);
    let probe = client(&name).await;
    for x in 0..5000 {
        probe.note(x).await.unwrap();
    }
    assert_eq!(probe.notes().await.unwrap(), (0..5000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_handler_knows_who_calls_it_and_as_what() {
    let (_server, name) = server(&[]);
    let about = client(&name).await.about_me().await.unwrap();
    assert_eq!(about.pid, Some(std::process::id()));
    assert_eq!(about.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(about.method.as_deref(), Some("Probe.about_me"));
    assert_eq!(about.left, None);
    // Outside a handler nothing is known.
    assert_eq!(panpipe::call::method(), None);
    assert_eq!(panpipe::call::peer(), panpipe::Peer::unknown());
}
