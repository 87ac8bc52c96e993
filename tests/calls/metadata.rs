//! Metadata of calls and of connections, between processes.

use std::process::Command;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use panpipe::layer::{Call, Layer, Next};
use panpipe::{
    Backoff, BlockingServiceClient as _, CallError, Codec, Limits, Metadata, MetadataError, Plugin, Server,
    ServiceClient,
};
use panpipe_tests::desk::{Clerk, Desk, DeskClient, How, Locale, Program, Seen, Tenant};
use panpipe_tests::process::Process;
use panpipe_tests::raw::{self, Raw, RawListener, kind};
use panpipe_tests::{PATIENCE, unique_name};

/// The desk in a process of its own, and its name.
fn desk(settings: &[&str]) -> (Process, String) {
    let name = unique_name("desk");
    (desk_at(&name, settings), name)
}

fn desk_at(name: &str, settings: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_desk"));
    let process = Process::start(command.arg(name).args(settings)).serving(name);
    process.wait_for("ready");
    process
}

async fn client(name: &str) -> DeskClient {
    DeskClient::connect(name).await.unwrap()
}

/// A text whose metadata have so many bytes in all.
fn text(bytes: usize) -> Locale {
    // The name, two lengths of which the second has two bytes, and the quotes.
    let locale = Locale("x".repeat(bytes - Locale::NAME.len() - 1 - 2 - 2));
    assert!((128..1 << 14).contains(&(locale.0.len() + 2)));
    locale
}

#[tokio::test]
async fn a_call_carries_its_clients_metadata() {
    let (_server, name) = desk(&[]);
    let plain = client(&name).await;
    let desk = plain.with_metadata(&Tenant { id: 7 });
    assert_eq!(desk.seen().await, Ok(Seen::tenant(7)));
    // The other client's calls go on without.
    assert_eq!(plain.seen().await, Ok(Seen::default()));
    let both = desk.with_metadata(&Locale("de".to_owned())).with_timeout(PATIENCE);
    assert_eq!(both.seen().await, Ok(Seen { locale: Some(2), ..Seen::tenant(7) }));
    assert_eq!(both.with_metadata(&Tenant { id: 8 }).seen().await.unwrap().tenant, Some(8));
    // The first call of a connection too, and calls made at the same time.
    let first = client(&name).await.with_metadata(&Tenant { id: 9 });
    let (one, other) = tokio::join!(first.seen(), first.seen());
    assert_eq!((one, other), (Ok(Seen::tenant(9)), Ok(Seen::tenant(9))));
}

#[tokio::test]
async fn one_way_calls_and_calls_that_open_streams_carry_metadata() {
    let (_server, name) = desk(&[]);
    let plain = client(&name).await;
    let desk = plain.with_metadata(&Tenant { id: 7 });
    desk.note().await.unwrap();
    desk.flush().await.unwrap();
    assert_eq!(plain.noted().await, Ok(Some(Seen::tenant(7))));
    plain.note().await.unwrap();
    assert_eq!(plain.noted().await, Ok(Some(Seen::default())));
    let items: Vec<_> = desk.items(3).await.unwrap().collect().await;
    assert_eq!(items, [Ok(Seen::tenant(7)), Ok(Seen::tenant(7)), Ok(Seen::tenant(7))]);
}

#[test]
fn a_blocking_client_carries_metadata() {
    let (_server, name) = desk(&[]);
    let program = Program::new("blocking");
    let plain = DeskClient::connect(&name).metadata(&program).blocking().unwrap();
    let of_connection = || Seen { program: Some("blocking".to_owned()), ..Seen::default() };
    let desk = plain.with_metadata(&Tenant { id: 7 });
    assert_eq!(desk.seen(), Ok(Seen { tenant: Some(7), ..of_connection() }));
    assert_eq!(plain.seen(), Ok(of_connection()));
    desk.note().unwrap();
    desk.flush().unwrap();
    assert_eq!(plain.noted().unwrap().unwrap().tenant, Some(7));
    // Outside of a handler there is nothing to inherit.
    assert_eq!(plain.with_inherited_metadata().seen(), Ok(of_connection()));
    assert_eq!(plain.as_async().connection_metadata(), Ok(Some(Program::new("desk"))));
}

#[tokio::test]
async fn every_codec_carries_metadata() {
    let (_server, name) = desk(&[]);
    for codec in [Codec::Bincode, Codec::Postcard, Codec::MessagePack, Codec::Json] {
        let connect = DeskClient::connect(&name).codec(codec).metadata(&Program::new("test"));
        let desk = connect.await.unwrap().with_metadata(&Tenant { id: 7 });
        let seen = Seen { program: Some("test".to_owned()), ..Seen::tenant(7) };
        assert_eq!(desk.seen().await, Ok(seen));
    }
}

#[tokio::test]
async fn a_handlers_calls_carry_its_callers_metadata_on_request_only() {
    let (_first, name) = desk(&[]);
    let (_second, other) = desk(&[]);
    let desk = client(&name).await.with_metadata(&Tenant { id: 7 }).with_metadata(&Locale("de".to_owned()));
    let through = async |how| desk.through(other.clone(), how).await.unwrap();
    assert_eq!(through(How::Plain).await, Seen::default());
    let inherited = Seen { locale: Some(2), ..Seen::tenant(7) };
    assert_eq!(through(How::Inheriting).await, inherited);
    assert_eq!(through(How::Own(8)).await, Seen { tenant: Some(8), ..inherited });
    // Without any there is nothing to inherit.
    let plain = client(&name).await;
    assert_eq!(plain.through(other.clone(), How::Inheriting).await, Ok(Seen::default()));
    assert_eq!(plain.through(other, How::Own(8)).await, Ok(Seen::tenant(8)));
}

#[tokio::test]
async fn a_call_back_carries_metadata_as_any_call() {
    let (_server, name) = desk(&[]);
    let desk = client(&name).await.with_metadata(&Tenant { id: 7 });
    let back = async |how| desk.back(DeskClient::offer(Clerk::default().serve()), how).await.unwrap();
    // The server has said of itself for the connection that its name is `desk`.
    let of_server = |seen| Seen { program: Some("desk".to_owned()), ..seen };
    assert_eq!(back(How::Plain).await, of_server(Seen::default()));
    assert_eq!(back(How::Inheriting).await, of_server(Seen::tenant(7)));
    assert_eq!(back(How::Own(8)).await, of_server(Seen::tenant(8)));
}

#[tokio::test]
async fn a_relayed_call_keeps_its_metadata_and_those_of_the_relaying_client_go_first() {
    let (_first, name) = desk(&[]);
    let (_second, other) = desk(&[]);
    // The client that comes back calls the second server by way of the first.
    let relayed = client(&name).await.relay(other.clone()).await.unwrap();
    assert_eq!(relayed.with_metadata(&Tenant { id: 7 }).seen().await, Ok(Seen::tenant(7)));
    assert_eq!(relayed.seen().await, Ok(Seen::default()));
    // A client of the second server is passed to the first, whose calls come by way of here.
    let desk = client(&name).await;
    let of_second = client(&other).await;
    assert_eq!(desk.back(of_second.clone(), How::Own(7)).await, Ok(Seen::tenant(7)));
    assert_eq!(desk.back(of_second.with_metadata(&Tenant { id: 9 }), How::Own(7)).await, Ok(Seen::tenant(9)));
    // A local one that has values of its own adds them too.
    let local = DeskClient::offer(Clerk::default().serve()).with_metadata(&Tenant { id: 9 });
    assert_eq!(desk.back(local, How::Plain).await.unwrap().tenant, Some(9));
}

#[tokio::test]
async fn a_gateway_passes_metadata_on() {
    let (_server, name) = desk(&[]);
    let (_gateway, front) = desk(&[&format!("gateway={name}")]);
    let desk = client(&front).await.with_metadata(&Tenant { id: 7 });
    assert_eq!(desk.seen().await, Ok(Seen::tenant(7)));
    desk.note().await.unwrap();
    assert_eq!(desk.noted().await, Ok(Some(Seen::tenant(7))));
}

#[tokio::test]
async fn a_client_that_reconnects_says_all_metadata_again() {
    let (server, name) = desk(&[]);
    let connect = DeskClient::connect(&name).metadata(&Program::new("test"));
    let plain = connect.reconnect(Backoff::exponential()).await.unwrap();
    let desk = plain.with_metadata(&Tenant { id: 7 });
    let seen = Seen { program: Some("test".to_owned()), ..Seen::tenant(7) };
    assert_eq!(desk.seen().await, Ok(seen.clone()));
    drop(server);
    // A one-way call that the client gives to a connection which has ended is lost with it.
    plain.closed().await;
    let _server = desk_at(&name, &[]);
    desk.note().await.unwrap();
    assert_eq!(desk.noted().await, Ok(Some(seen.clone())));
    assert_eq!(desk.seen().await, Ok(seen));
    assert_eq!(plain.connection_metadata(), Ok(Some(Program::new("desk"))));
}

#[tokio::test]
async fn both_sides_read_the_metadata_of_the_connection() {
    let (_server, name) = desk(&[]);
    let connect = panpipe::connect(&name).metadata(&Program::new("test")).metadata(&Tenant { id: 1 });
    let connection = connect.await.unwrap();
    // Not before the server has answered.
    assert_eq!(connection.metadata::<Program>(), Ok(None));
    let desk = connection.client::<DeskClient>().await.unwrap();
    let seen = Seen { program: Some("test".to_owned()), ..Seen::default() };
    // They are none of the calls'.
    assert_eq!(desk.seen().await, Ok(seen));
    assert_eq!(connection.metadata(), Ok(Some(Program::new("desk"))));
    assert_eq!(desk.connection_metadata(), Ok(Some(Program::new("desk"))));
    assert_eq!(connection.metadata::<Tenant>(), Ok(None));
}

#[tokio::test]
async fn a_server_knows_a_clients_metadata_when_it_connects() {
    let name = unique_name("connected");
    let told = Arc::new(Mutex::new(Vec::new()));
    let (come, made) = (Arc::clone(&told), Arc::clone(&told));
    let server = Server::bind(&name)
        .service_per_client(move |client| {
            made.lock().unwrap().push(client.metadata::<Program>());
            Clerk::default().serve()
        })
        .on_connect(move |client| come.lock().unwrap().push(client.connection().metadata::<Program>()))
        .start()
        .unwrap();
    let desk = DeskClient::connect(&name).metadata(&Program::new("test")).await.unwrap();
    desk.seen().await.unwrap();
    let expected = || Ok(Some(Program::new("test")));
    assert_eq!(*told.lock().unwrap(), [expected(), expected()]);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn children_and_plugins_are_given_metadata() {
    let command = |what| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_desk"));
        command.arg(what);
        command
    };
    let seen = || Seen { program: Some("host".to_owned()), ..Seen::tenant(7) };
    let host = Program::new("host");
    let child = panpipe::spawn(command("child")).metadata(&host).start::<DeskClient>().unwrap();
    assert_eq!(child.client().with_metadata(&Tenant { id: 7 }).seen().await, Ok(seen()));
    child.shutdown(PATIENCE).await.unwrap();
    let plugin = Plugin::spawn(command("plugin")).cookie("DESK").metadata(&host);
    let plugin: Plugin<DeskClient> = plugin.start().await.unwrap();
    assert_eq!(plugin.client().with_metadata(&Tenant { id: 7 }).seen().await, Ok(seen()));
    plugin.shutdown(PATIENCE).await.unwrap();
    let child = std::thread::spawn(move || {
        let child = panpipe::spawn(command("child")).metadata(&host).start_blocking::<DeskClient>().unwrap();
        let seen = child.client().with_metadata(&Tenant { id: 7 }).seen();
        child.shutdown(PATIENCE).unwrap();
        seen
    });
    assert_eq!(child.join().unwrap(), Ok(seen()));
}

#[tokio::test]
async fn a_client_fails_a_call_over_the_servers_limit() {
    let (_server, name) = desk(&["max_metadata=200"]);
    let plain = client(&name).await;
    assert_eq!(plain.with_metadata(&text(200)).seen().await.unwrap().locale, Some(184));
    let over = plain.with_metadata(&text(201));
    let failed = over.seen().await.unwrap_err();
    assert_eq!(failed, CallError::MetadataTooLarge { size: 201, limit: 200 });
    assert!(failed.did_not_run() && !failed.is_retryable());
    let said = failed.to_string();
    assert!(said.contains("201") && said.contains("200") && said.contains("Limits::max_metadata"), "{said}");
    assert_eq!(over.note().await, Err(failed));
    assert_eq!(plain.noted().await, Ok(None));
    // The default.
    let (_server, name) = desk(&[]);
    let plain = client(&name).await;
    assert!(plain.with_metadata(&text(8192)).seen().await.is_ok());
    let failed = plain.with_metadata(&text(8193)).seen().await;
    assert_eq!(failed, Err(CallError::MetadataTooLarge { size: 8193, limit: 8192 }));
}

/// The metadata of a call, as they stand behind its body.
fn behind(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().flat_map(|(name, value)| [raw::string(name), raw::string(value)].concat()).collect();
    [&entries[..], &(entries.len() as u32).to_le_bytes()].concat()
}

/// A call without arguments, and metadata.
fn raw_call(id: u64, metadata: &[u8]) -> Vec<u8> {
    let head = [&raw::method("seen()->Seen").to_le_bytes()[..], &[0]].concat();
    raw::frame(kind::CALL | kind::METADATA, id, &[&head, metadata].concat())
}

#[test]
fn a_server_refuses_the_call_and_not_the_connection_of_a_peer_over_its_limit() {
    let (_server, name) = desk(&["max_metadata=20"]);
    let mut raw = Raw::greeted(&name, "Desk");
    let over = behind(&[("test.tenant", r#"{"id":7}"#)]);
    raw.send(&raw_call(0, &over));
    // Status 11, the size and the limit.
    assert_eq!(raw.frame().body, [11, 21, 20]);
    let note = [&raw::method("oneway note()").to_le_bytes()[..], &over].concat();
    raw.send(&raw::frame(kind::ONEWAY | kind::METADATA, 0, &note));
    raw.send(&raw::call(0, "noted()->Option<Seen>", 0, &[]));
    assert_eq!(raw.frame().body, [0, 0]);
    raw.send(&raw_call(0, &behind(&[("test.locale", r#""de""#)])));
    // The length of the text, and neither tenant nor program.
    assert_eq!(raw.frame().body, [&[0, 0, 1][..], &2u64.to_le_bytes(), &[0]].concat());
}

#[test]
fn metadata_that_cannot_be_read_end_the_connection() {
    let (_server, name) = desk(&[]);
    for metadata in [
        &[][..],
        &[1, 2, 3],
        &[0xff, 0xff, 0xff, 0xff],
        &[9, 0, 0, 0],
        &[b'x', 1, 0, 0, 0],
        &[1, 0xff, 0, 3, 0, 0, 0],
        &[1, b'n', 2, b'1', 4, 0, 0, 0],
    ] {
        let mut raw = Raw::greeted(&name, "Desk");
        raw.send(&raw_call(0, metadata));
        let close = raw.to_the_end().pop().expect("a reason comes before the end");
        assert_eq!(close.kind, kind::CLOSE, "{close:?}");
        let words = close.words();
        assert!(words.contains("metadata") || words.contains("head of a call"), "{words}");
    }
    for kind in [kind::REPLY, kind::ITEM, kind::PART, kind::CANCEL] {
        let mut raw = Raw::greeted(&name, "Desk");
        raw.send(&raw::frame(kind | kind::METADATA, 0, &[0]));
        let close = raw.to_the_end().pop().expect("a reason comes before the end");
        assert!(close.words().contains("is no call"), "{}", close.words());
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error_of_the_reader_alone() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Wrong(String);
    impl Metadata for Wrong {
        const NAME: &'static str = "test.tenant";
    }
    let (_server, name) = desk(&[]);
    let plain = client(&name).await;
    // The handler takes it for the end of the world, and the connection does not.
    assert_eq!(plain.with_metadata(&Wrong("7".to_owned())).seen().await, Err(CallError::Panicked));
    assert_eq!(plain.with_metadata(&Tenant { id: 7 }).seen().await, Ok(Seen::tenant(7)));
}

#[tokio::test]
async fn a_value_that_cannot_be_encoded_is_told_where_it_is_used() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Ratio(f64);
    impl Metadata for Ratio {
        const NAME: &'static str = "test.ratio";
    }
    let nan = Ratio(f64::NAN);
    let (_server, name) = desk(&[]);
    let plain = client(&name).await;
    for desk in [plain.clone(), DeskClient::local(Clerk::default())] {
        let Err(CallError::Malformed(why)) = desk.with_metadata(&nan).seen().await else {
            panic!("it is sent")
        };
        assert!(why.contains("test.ratio") && why.contains("JSON"), "{why}");
    }
    let error = DeskClient::connect(&name).metadata(&nan).await.unwrap_err().to_string();
    assert!(error.contains("test.ratio"), "{error}");
    let error = Server::bind(&name).service(Clerk::default().serve()).metadata(&nan).start().unwrap_err();
    assert!(matches!(error, panpipe::ServeError::Metadata(MetadataError::Encode { .. })), "{error}");
}

#[tokio::test]
async fn a_connection_with_too_many_metadata_is_not_made() {
    let (_server, name) = desk(&[]);
    assert!(DeskClient::connect(&name).metadata(&text(1536)).await.is_ok());
    let error = DeskClient::connect(&name).metadata(&text(1537)).await.unwrap_err().to_string();
    assert!(error.contains("1537") && error.contains("1536"), "{error}");
    let command = Command::new(env!("CARGO_BIN_EXE_desk"));
    let error = panpipe::spawn(command).metadata(&text(1537)).start::<DeskClient>().unwrap_err().to_string();
    assert!(error.contains("1537") && error.contains("1536"), "{error}");
    let plugin = Plugin::spawn(Command::new(env!("CARGO_BIN_EXE_desk"))).metadata(&text(1537));
    let error = plugin.start::<DeskClient>().await.unwrap_err().to_string();
    assert!(error.contains("1537") && error.contains("1536"), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_less_of_a_connection_says_so_to_who_asks() {
    let name = unique_name("strict");
    let told = Arc::new(Mutex::new(None));
    let come = Arc::clone(&told);
    let server = Server::bind(&name)
        .limits(Limits { max_metadata: 10, ..Limits::default() })
        .on_connect(move |client| *come.lock().unwrap() = Some(client.connection().metadata::<Program>()))
        .service(Clerk::default().serve())
        .start()
        .unwrap();
    let desk = DeskClient::connect(&name).metadata(&Program::new("test")).await.unwrap();
    assert_eq!(desk.noted().await, Ok(None));
    let Some(Err(error)) = told.lock().unwrap().take() else { panic!("it was kept") };
    assert!(matches!(error, MetadataError::OverLimit { limit: 10, .. }), "{error}");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_server_older_than_metadata_is_sent_none_and_serves_other_calls() {
    let name = unique_name("older");
    let listener = RawListener::bind(&name);
    let older = tokio::task::spawn_blocking(move || {
        let mut raw = listener.accept();
        raw.expect_magic();
        assert_eq!(raw.frame().kind, kind::HELLO);
        raw.send(raw::MAGIC);
        raw.send(&raw::server_hello_with_ports("Desk"));
        // The calls with metadata do not come.
        let call = raw.frame();
        assert_eq!(
            (call.kind, &call.body[..8]),
            (kind::CALL, &raw::method("seen()->Seen").to_le_bytes()[..])
        );
        raw.send(&raw::frame(kind::REPLY, call.id, &[0, 0, 0, 0]));
        assert_eq!(raw.to_the_end().pop().map(|frame| frame.kind), None);
    });
    let plain = DeskClient::connect(&name).metadata(&Program::new("test")).await.unwrap();
    let desk = plain.with_metadata(&Tenant { id: 7 });
    for _ in 0..2 {
        let Err(CallError::Unsupported(why)) = desk.seen().await else { panic!("it was sent") };
        assert!(why.contains("older than metadata"), "{why}");
    }
    assert!(matches!(desk.note().await, Err(CallError::Unsupported(_))));
    assert_eq!(plain.seen().await, Ok(Seen::default()));
    assert_eq!(plain.connection_metadata::<Program>(), Ok(None));
    drop((plain, desk));
    older.await.unwrap();
}

#[test]
fn a_client_older_than_metadata_is_served_and_sends_none() {
    let (_server, name) = desk(&[]);
    let mut raw = Raw::greeted_with_ports(&name, "Desk");
    raw.send(&raw::call(0, "seen()->Seen", 0, &[]));
    assert_eq!(raw.frame().body, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_local_client_carries_metadata_encoded_or_not() {
    for desk in [
        DeskClient::local(Clerk::default()),
        DeskClient::local_encoded(Clerk::default(), Codec::MessagePack),
        DeskClient::offer(Clerk::default().serve()),
    ] {
        assert_eq!(desk.with_metadata(&Tenant { id: 7 }).seen().await, Ok(Seen::tenant(7)));
        assert_eq!(desk.seen().await, Ok(Seen::default()));
    }
}

#[tokio::test]
async fn tarpcs_transports_carry_no_metadata_and_say_so() {
    use tarpc::server::Channel;
    let (one, other) = tarpc::transport::channel::unbounded();
    let requests = tarpc::server::BaseChannel::with_defaults(other).execute(Clerk::default().serve());
    tokio::spawn(requests.for_each(|handler| async {
        tokio::spawn(handler);
    }));
    let stub = tarpc::client::new(tarpc::client::Config::default(), one).spawn();
    let (desk, calls) = panpipe::tarpc::client::<DeskClient, _>(stub);
    tokio::spawn(calls);
    let failed = desk.with_metadata(&Tenant { id: 7 }).seen().await;
    assert!(matches!(failed, Err(CallError::Unsupported(_))), "{failed:?}");
    assert_eq!(desk.seen().await, Ok(Seen::default()));
}

/// A service for a one-way pipe.
#[panpipe::service]
pub trait Lines {
    /// One more.
    #[oneway]
    async fn line(&self, text: String);
}

#[tokio::test]
async fn one_way_pipes_carry_no_metadata_and_say_so() {
    let (write, _read) = tokio::io::duplex(4096);
    let lines: LinesClient = panpipe::oneway::over(write);
    let failed = lines.with_metadata(&Tenant { id: 7 }).line("a".to_owned()).await;
    assert!(matches!(failed, Err(CallError::Unsupported(_))), "{failed:?}");
    lines.line("a".to_owned()).await.unwrap();
}

/// Notes the tenants of the calls that pass.
#[derive(Clone, Default)]
struct Tenants(Arc<Mutex<Vec<Option<u64>>>>);

#[derive(Clone)]
struct Noting {
    tenants: Tenants,
    next: Next,
}

impl Layer<Next> for Tenants {
    type Service = Noting;

    fn layer(&self, next: Next) -> Noting {
        Noting { tenants: self.clone(), next }
    }
}

impl panpipe::layer::Service<Call> for Noting {
    type Response = panpipe::layer::Outcome;
    type Error = CallError;
    type Future = panpipe::layer::Answering;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), CallError>> {
        self.next.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let tenant = call.info().metadata::<Tenant>().unwrap().map(|tenant| tenant.id);
        self.tenants.0.lock().unwrap().push(tenant);
        self.next.call(call)
    }
}

#[tokio::test]
async fn rules_and_layers_of_both_sides_see_metadata() {
    let name = unique_name("ruled");
    let (of_server, of_client) = (Tenants::default(), Tenants::default());
    let server = Server::bind(&name)
        .authorize(|call| {
            // As a handler has it.
            assert_eq!(panpipe::call::connection_metadata(), Ok(Some(Program::new("test"))));
            match (call.metadata::<Tenant>(), panpipe::call::metadata::<Tenant>()) {
                (Ok(Some(tenant)), Ok(Some(same))) if tenant == same && tenant.id > 1 => Ok(()),
                _ => Err("no tenant"),
            }
        })
        .layer(of_server.clone())
        .service(Clerk::default().serve())
        .start()
        .unwrap();
    let plain = DeskClient::connect(&name).metadata(&Program::new("test")).await.unwrap();
    let plain = plain.with_layer(of_client.clone());
    let tenant = |id| plain.with_metadata(&Tenant { id });
    assert!(matches!(plain.seen().await, Err(CallError::Refused(_))));
    assert!(matches!(tenant(1).seen().await, Err(CallError::Refused(_))));
    assert_eq!(tenant(2).seen().await.unwrap().tenant, Some(2));
    tenant(3).note().await.unwrap();
    plain.flush().await.unwrap();
    assert_eq!(*of_client.0.lock().unwrap(), [None, Some(1), Some(2), Some(3)]);
    assert_eq!(*of_server.0.lock().unwrap(), [Some(2), Some(3)]);
    server.shutdown().await.unwrap();
}

/// Collects the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut words = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            words += &format!("{field}={value:?} ");
        });
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.lock().unwrap().push(words);
        }
    }
}

#[tokio::test]
async fn a_relay_logs_a_one_way_call_that_it_cannot_pass_on() {
    use tracing_subscriber::layer::SubscriberExt;
    let warnings = Warnings::default();
    let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(warnings.clone()));
    let name = unique_name("logged");
    // It serves a client of a server that accepts no metadata.
    let (_server, strict) = desk(&["max_metadata=0"]);
    let gateway = Server::bind(&name).service(client(&strict).await.relayed()).start().unwrap();
    let plain = client(&name).await;
    plain.with_metadata(&Tenant { id: 7 }).note().await.unwrap();
    // It is behind the other in the gateway and passed on.
    assert_eq!(plain.noted().await, Ok(None));
    let warnings = std::mem::take(&mut *warnings.0.lock().unwrap());
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("Desk.note") && warning.contains("max_metadata"), "{warning}");
    gateway.shutdown().await.unwrap();
}
