//! Handlers whose futures are as large as half of a thread's stack.

use std::sync::mpsc;
use std::thread;

use panpipe::ServiceClient;

/// Calls whose handlers keep much on their futures.
#[panpipe::service]
pub trait Rooms {
    /// Fills 384 KiB, and gives the sum.
    async fn fill(&self, x: u8) -> u64;
    /// The same of 1 MiB.
    async fn fill_more(&self, x: u8) -> u64;
    /// The same, and tells the sum elsewhere.
    #[oneway]
    async fn note(&self, x: u8);
}

struct Hall(mpsc::Sender<u64>);

macro_rules! sum_of_room {
    ($len:expr, $x:expr) => {{
        let mut room = [$x; $len];
        // All of it is part of the future.
        std::future::ready(()).await;
        room[0] = 0;
        room.iter().map(|&byte| u64::from(byte)).sum()
    }};
}

impl Rooms for Hall {
    async fn fill(&self, x: u8) -> u64 {
        sum_of_room!(384 << 10, x)
    }

    async fn fill_more(&self, x: u8) -> u64 {
        sum_of_room!(1 << 20, x)
    }

    async fn note(&self, x: u8) {
        self.0.send(sum_of_room!(1 << 20, x)).unwrap();
    }
}

/// Runs on a thread of the size that the standard library and tokio give by default.
fn on_a_thread(run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

async fn serve_and_call() {
    let (heard, sums) = mpsc::channel();
    let (here, there) = tokio::io::duplex(4096);
    tokio::spawn(panpipe::serve_stream(there, Hall(heard).serve()));
    let rooms = RoomsClient::over(here);
    assert_eq!(rooms.fill(1).await, Ok((384 << 10) - 1));
    assert_eq!(rooms.fill_more(2).await, Ok((2 << 20) - 2));
    rooms.note(3).await.unwrap();
    rooms.flush().await.unwrap();
    assert_eq!(sums.try_iter().collect::<Vec<u64>>(), [(3 << 20) - 3]);
}

#[test]
fn a_handler_may_keep_a_mebibyte_in_a_runtime_of_one_thread() {
    on_a_thread(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve_and_call());
    });
}

#[test]
fn a_handler_may_keep_a_mebibyte_in_a_runtime_of_several_threads() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_stack_size(2 << 20).enable_all().build().unwrap();
    let called = runtime.spawn(serve_and_call());
    runtime.block_on(called).unwrap();
}

#[test]
fn a_handler_may_keep_a_mebibyte_without_a_runtime() {
    let (heard, sums) = mpsc::channel();
    let name = panpipe_tests::unique_name("rooms");
    let server = panpipe::Server::bind(&name).service(Hall(heard).serve()).start_blocking().unwrap();
    on_a_thread(move || {
        let rooms = RoomsClient::connect_blocking(&name).unwrap();
        assert_eq!(rooms.fill(1), Ok((384 << 10) - 1));
        assert_eq!(rooms.fill_more(2), Ok((2 << 20) - 2));
        rooms.note(3).unwrap();
        assert_eq!(sums.recv(), Ok((3 << 20) - 3));
    });
    server.shutdown().unwrap();
}
