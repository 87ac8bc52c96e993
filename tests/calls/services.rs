//! Several services on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use panpipe::{CallError, Connection, Plugin, RefusalReason, RunningServer, Server, Service, ServiceClient};
use panpipe_tests::probe::{Probe, ProbeClient, Prober};
use panpipe_tests::studio::{Ear, Listener, ListenerClient, StudioClient};
use panpipe_tests::{PATIENCE, eventually, unique_name};

use crate::common::{child_command, server, studio};

/// Has a method of the same name and signature as [`Second`].
#[panpipe::service]
pub trait First {
    /// Which it is.
    async fn which(&self) -> u32;
}

/// The other.
#[panpipe::service(version = 3)]
pub trait Second {
    /// Which it is.
    async fn which(&self) -> u32;
    /// How often this client has called.
    async fn calls(&self) -> u64;
    /// Calls the client's own listener.
    async fn through(&self, x: u64) -> Result<u64, String>;
}

struct One;

impl First for One {
    async fn which(&self) -> u32 {
        1
    }
}

/// One for each client.
struct Two {
    calls: AtomicU64,
    client: Connection,
    _alive: Arc<()>,
}

impl Second for Two {
    async fn which(&self) -> u32 {
        2
    }

    async fn calls(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1
    }

    async fn through(&self, x: u64) -> Result<u64, String> {
        let listener = self.client.client::<ListenerClient>().await.map_err(|error| error.to_string())?;
        listener.hear(x).await.map_err(|error| error.to_string())
    }
}

fn serve(name: &str) -> (RunningServer, Arc<()>) {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let server = Server::bind(name)
        .service(One.serve())
        .service_per_client(move |client: &Connection| {
            assert_eq!(client.peer().pid, Some(std::process::id()));
            Two { calls: AtomicU64::new(0), client: client.clone(), _alive: Arc::clone(&held) }.serve()
        })
        .service(Prober::default().serve());
    (server.start().unwrap(), alive)
}

#[tokio::test]
async fn each_service_is_called_by_its_own_client() {
    let name = unique_name("services");
    let (server, _) = serve(&name);
    let connection = panpipe::connect(&name).await.unwrap();
    let first = connection.client::<FirstClient>().await.unwrap();
    let second = connection.client::<SecondClient>().await.unwrap();
    let probe = connection.client::<ProbeClient>().await.unwrap();
    assert_eq!((first.which().await, second.which().await, probe.add(1, 2).await), (Ok(1), Ok(2), Ok(3)));
    // A client of one service reaches it too, and only it.
    let first = FirstClient::connect(&name).await.unwrap();
    let second = SecondClient::connect(&name).await.unwrap();
    assert_eq!((first.which().await, second.which().await), (Ok(1), Ok(2)));
    drop((connection, first, second, probe));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_not_offered_is_refused_in_words_and_the_others_go_on() {
    let name = unique_name("services");
    let (server, _) = serve(&name);
    let connection = panpipe::connect(&name).await.unwrap();
    let Err(CallError::Refused(refusal)) = connection.client::<StudioClient>().await else {
        panic!("it is not offered");
    };
    assert_eq!(refusal.reason, RefusalReason::Service);
    assert!(refusal.message.contains("Studio version 1") && refusal.message.contains("Second version 3"));
    assert_eq!(connection.client::<FirstClient>().await.unwrap().which().await, Ok(1));
    let studio = StudioClient::connect(&name).await.unwrap();
    let Err(CallError::Refused(refusal)) = studio.echo(1).await else { panic!("it is not offered") };
    assert_eq!(refusal.reason, RefusalReason::Service);
    drop((connection, studio));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_service_per_client_has_that_clients_state_and_goes_with_it() {
    let name = unique_name("services");
    let (server, alive) = serve(&name);
    let (one, other) = (panpipe::connect(&name).await.unwrap(), SecondClient::connect(&name).await.unwrap());
    let first_handle = one.client::<SecondClient>().await.unwrap();
    let second_handle = one.client::<SecondClient>().await.unwrap();
    assert_eq!((first_handle.calls().await, second_handle.calls().await), (Ok(1), Ok(2)));
    assert_eq!(other.calls().await, Ok(1));
    assert_eq!(Arc::strong_count(&alive), 4);
    drop((one, first_handle, second_handle, other));
    eventually("both are dropped", PATIENCE, async || Arc::strong_count(&alive) == 2).await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_calls_what_its_client_offers() {
    let name = unique_name("services");
    let (server, _) = serve(&name);
    let ear = Ear::default();
    let second = SecondClient::connect(&name).offer(ear.clone().serve()).await.unwrap();
    assert_eq!(second.through(21).await, Ok(42));
    assert_eq!(ear.heard(), [21]);
    let without = SecondClient::connect(&name).await.unwrap();
    let Err(CallError::App(why)) = without.through(21).await else { panic!("it offers nothing") };
    assert!(why.contains("Listener version 1"), "{why}");
    assert!(without.close_reason().is_none());
    drop((second, without));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_connection_ends_with_the_last_of_what_came_of_it() {
    let name = unique_name("services");
    let (server, alive) = serve(&name);
    let connection = panpipe::connect(&name).await.unwrap();
    let second = connection.client::<SecondClient>().await.unwrap();
    drop(connection);
    assert_eq!(second.calls().await, Ok(1));
    drop(second);
    eventually("the server has seen it go", PATIENCE, async || Arc::strong_count(&alive) == 2).await;
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn instances_of_one_service_have_names_of_their_own() {
    struct Nth(u32);
    impl First for Nth {
        async fn which(&self) -> u32 {
            self.0
        }
    }
    let name = unique_name("instances");
    let server = Server::bind(&name)
        .service(Nth(1).serve())
        .service(Nth(2).serve().named("second"))
        .service(Nth(3).serve().named("third"))
        .start()
        .unwrap();
    // At the root port, at ports of their own, without a runtime.
    assert_eq!(FirstClient::connect(&name).await.unwrap().which().await, Ok(1));
    assert_eq!(FirstClient::connect(&name).named("second").await.unwrap().which().await, Ok(2));
    let connection = panpipe::connect(&name).await.unwrap();
    let third = connection.client_named::<FirstClient>("third").await.unwrap();
    let first = connection.client::<FirstClient>().await.unwrap();
    assert_eq!((third.which().await, first.which().await), (Ok(3), Ok(1)));
    let blocking = name.clone();
    let which = tokio::task::spawn_blocking(move || {
        FirstClient::connect(&blocking).named("third").blocking().unwrap().which()
    });
    assert_eq!(which.await.unwrap(), Ok(3));
    // A name that is not served is refused as a service that is not offered.
    let error = connection.client_named::<FirstClient>("fourth").await.unwrap_err();
    let CallError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.reason, RefusalReason::Service);
    assert!(refusal.message.contains("fourth"), "{refusal}");
    drop((connection, first, third));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_gateway_serves_a_client_again() {
    let (_far, _, studio) = studio(&[]).await;
    let name = unique_name("gateway");
    let gateway = Server::bind(&name)
        .service(studio.clone().relayed())
        .service(studio.relayed().named("again"))
        .start()
        .unwrap();
    let near = StudioClient::connect(&name).await.unwrap();
    assert_eq!(near.echo(7).await, Ok(7));
    // What a message carries is passed on too.
    let listener = ListenerClient::offer(Ear::default().serve());
    assert_eq!(near.call_back(listener, 3).await, Ok(6));
    let again = StudioClient::connect(&name).named("again").await.unwrap();
    assert_eq!(again.sum(panpipe_tests::studio::numbers(100)).await, Ok(4950));
    drop((near, again));
    gateway.shutdown().await.unwrap();
}

#[tokio::test]
async fn service_that_is_registered_twice_is_an_error_when_the_server_starts() {
    let name = unique_name("twice");
    let server = || Server::bind(&name).service(One.serve());
    let per_client = |_: &Connection| One.serve();
    let errors = [
        server().service(One.serve()).start().map(drop),
        server().service_per_client(per_client).start().map(drop),
        server().service(One.serve()).start_blocking().map(drop),
        panpipe::oneway::Server::bind(&name).service(Dry.serve()).service(Dry.serve()).start().map(drop),
    ];
    for error in errors {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains("registered twice"), "{error}");
    }
    // The name is still free.
    server().start().unwrap().shutdown().await.unwrap();
}

#[tokio::test]
async fn service_that_is_offered_twice_is_an_error_when_the_connection_is_to_be_made() {
    let (_server, name) = server(&[]);
    let connect = || ProbeClient::connect(&name).offer(One.serve()).offer(One.serve());
    let spawn = || panpipe::spawn(child_command("probe")).offer(One.serve()).offer(One.serve());
    let plugin = Plugin::spawn(child_command("probe")).offer(One.serve()).offer(One.serve());
    let errors = [
        connect().await.unwrap_err().to_string(),
        connect().blocking().unwrap_err().to_string(),
        spawn().start::<ProbeClient>().unwrap_err().to_string(),
        spawn().start_blocking::<ProbeClient>().unwrap_err().to_string(),
        plugin.start::<ProbeClient>().await.unwrap_err().to_string(),
    ];
    for error in errors {
        assert!(error.contains("is offered twice; remove one of the two"), "{error}");
    }
    // Under another name it is another one.
    let named = ProbeClient::connect(&name).offer(One.serve()).offer(One.serve().named("Other"));
    assert_eq!(named.await.unwrap().add(1, 2).await, Ok(3));
}

/// Nothing but one-way methods.
#[panpipe::service]
trait Notes {
    /// Takes a note.
    #[oneway]
    async fn note(&self, text: String);
}

struct Dry;

impl Notes for Dry {
    async fn note(&self, _: String) {}
}
