//! Both seams to tarpc: its services over our pipes, our services over its
//! transports.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::StreamExt;
use panpipe::tarpc::{Reply, Request};
use panpipe::{CallError, ServiceClient};
use panpipe_tests::probe::{Odd, Probe, ProbeClient, ProbeError, Prober};
use panpipe_tests::studio::{Ear, Listener, ListenerClient, Studio, StudioClient, StudioImpl, numbers};
use panpipe_tests::unique_name;
use panpipe_tests::world::WorldClient;
use panpipe_transport::codec::Bincode;
use panpipe_transport::{PipeStream, Transport, anonymous, connect};
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Json;
use tarpc::{client, context};

fn world_over(stream: PipeStream) -> WorldClient {
    WorldClient::new(client::Config::default(), Transport::new(stream, Bincode)).spawn()
}

async fn talks(world: WorldClient) {
    let greeting = world.hello(context::current(), "Pan".to_owned()).await.unwrap();
    assert!(greeting.contains("Pan"), "{greeting}");
    let bytes = vec![3; 1_000_000];
    assert_eq!(world.echo(context::current(), bytes.clone()).await.unwrap(), bytes);
    let calls = (0..200).map(|x| world.hello(context::current(), x.to_string()));
    for (x, greeting) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert!(greeting.unwrap().contains(&x.to_string()));
    }
}

#[tokio::test]
async fn a_tarpc_service_runs_unchanged_over_a_named_pipe() {
    let name = unique_name("tarpc");
    let mut server = panpipe_tests::process::Process::start(
        Command::new(env!("CARGO_BIN_EXE_tarpc_server")).args(["name", &name]),
    );
    let stream = connect(&name).wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!(stream.peer().pid, Some(server.id()));
    talks(world_over(stream)).await;
    assert!(tokio::task::spawn_blocking(move || server.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_tarpc_service_runs_unchanged_over_anonymous_pipes() {
    let (stream, ends) = anonymous::for_child().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarpc_server"));
    command.args(["handles", &ends.handles()]).stdin(Stdio::null());
    let passed = ends.pass_to(&mut command).unwrap();
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    drop(passed);
    talks(world_over(stream)).await;
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_panpipe_service_runs_on_tarpcs_tcp() {
    let mut listener = tcp::listen("localhost:0", Json::<_, tarpc::Response<_>>::default).await.unwrap();
    let address = listener.local_addr();
    let server = tokio::spawn(async move {
        let transport = listener.next().await.unwrap().unwrap();
        let channel = BaseChannel::with_defaults(transport).execute(Prober::default().serve());
        channel
            .for_each(|handler| async {
                tokio::spawn(handler);
            })
            .await;
    });
    let transport = tcp::connect(address, Json::default).await.unwrap();
    let config = client::Config::default();
    let stub = client::new::<
        Request<<ProbeClient as ServiceClient>::Req>,
        Reply<<ProbeClient as ServiceClient>::Resp>,
        _,
    >(config, transport)
    .spawn();
    let (probe, calls) = panpipe::tarpc::client::<ProbeClient, _>(stub);
    let calls = tokio::spawn(calls);

    assert_eq!(probe.add(1, 2).await, Ok(3));
    assert_eq!(probe.echo(vec![1, 2]).await, Ok(vec![1, 2]));
    let why = "why".to_owned();
    assert_eq!(probe.fail(why.clone()).await, Err(CallError::App(ProbeError { why })));
    assert_eq!(probe.panic(true).await, Err(CallError::Panicked));
    assert_eq!(probe.odd(Odd::Fine).await, Ok(Odd::Fine));
    let hasty = probe.with_timeout(Duration::from_millis(50));
    assert_eq!(hasty.hang().await, Err(CallError::DeadlineExceeded));
    let about = probe.about_me().await.unwrap();
    assert_eq!((about.pid, about.method.as_deref()), (None, Some("Probe.about_me")));
    probe.note(3).await.unwrap();
    panpipe_tests::eventually("it is noted", panpipe_tests::PATIENCE, async || {
        probe.notes().await.unwrap() == [3]
    })
    .await;

    drop((probe, hasty));
    calls.await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn what_carries_a_port_is_refused_in_words_by_tarpcs_transports() {
    let mut listener = tcp::listen("localhost:0", Json::<_, tarpc::Response<_>>::default).await.unwrap();
    let address = listener.local_addr();
    let server = tokio::spawn(async move {
        let transport = listener.next().await.unwrap().unwrap();
        let channel = BaseChannel::with_defaults(transport).execute(StudioImpl::default().serve());
        channel
            .for_each(|handler| async {
                tokio::spawn(handler);
            })
            .await;
    });
    let transport = tcp::connect(address, Json::default).await.unwrap();
    let stub = client::new(client::Config::default(), transport).spawn();
    let (studio, calls) = panpipe::tarpc::client::<StudioClient, _>(stub);
    let calls = tokio::spawn(calls);
    let refused = |result: Result<(), CallError<String>>| {
        assert!(matches!(&result, Err(CallError::Malformed(why)) if why.contains("tarpc")), "{result:?}");
    };
    // As an argument, as a result, a client, and somewhere inside.
    refused(studio.sum(numbers(3)).await.map(drop));
    refused(studio.count(3).await.map(drop).map_err(CallError::widen));
    let listener = ListenerClient::offer(Ear::default().serve());
    refused(studio.call_back(listener, 1).await.map(drop));
    refused(studio.shelf(3).await.map(drop).map_err(CallError::widen));
    // The others, and the connection, are as they were.
    assert_eq!(studio.echo(7).await, Ok(7));
    drop(studio);
    calls.await.unwrap();
    server.await.unwrap();
}
