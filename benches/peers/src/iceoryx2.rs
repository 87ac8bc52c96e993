//! iceoryx2's request and response: shared memory, the limit of what two processes can
//! do on one machine.
//!
//! Payloads are slices; a request is written once into shared memory and its response
//! copied there from it. Whoever waits is woken by iceoryx2's own events, sent once for
//! as many messages as there are, or looks without end, for which it needs a processor
//! of its own. One thread has 64 requests outstanding where there are many callers.

use core::cell::Cell;

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::request_response::PortFactory;
use panpipe_benches::blocking_work::{rate, time_calls};
use panpipe_benches::job::{Job, Work, ready};
use panpipe_benches::peer::Peer;

type Node = iceoryx2::node::Node<ipc::Service>;
type Pending = PendingResponse<ipc::Service, [u8], (), [u8], ()>;

/// The most requests that are outstanding at one client.
const AT_ONCE: usize = 64;

fn name(job: &Job, part: &str) -> ServiceName {
    // Names are known on the whole machine: the path makes them this run's.
    let name = format!("{}/{part}", job.place);
    ServiceName::new(&name).expect("a path is a name")
}

fn calls(node: &Node, job: &Job) -> PortFactory<ipc::Service, [u8], (), [u8], ()> {
    node.service_builder(&name(job, "calls"))
        .request_response::<[u8], [u8]>()
        .max_active_requests_per_client(AT_ONCE)
        .max_loaned_requests(2)
        .max_nodes(4)
        .open_or_create()
        .expect("the service can be made")
}

/// The two ends of the events of one direction.
fn events(
    node: &Node,
    job: &Job,
    part: &str,
) -> iceoryx2::service::port_factory::event::PortFactory<ipc::Service> {
    node.service_builder(&name(job, part)).event().open_or_create().expect("the service can be made")
}

fn node() -> Node {
    // It warns that there is no file of settings, and has none to warn of.
    set_log_level(LogLevel::Error);
    NodeBuilder::new().create().expect("there is shared memory")
}

/// How who waits is woken: by nothing where it looks without end.
struct Waking {
    own: Listener<ipc::Service>,
    other: Notifier<ipc::Service>,
    busy: bool,
    woken: Cell<u64>,
}

impl Waking {
    fn new(node: &Node, job: &Job, own: &str, other: &str) -> Waking {
        Waking {
            own: events(node, job, own).listener_builder().create().expect("there is room"),
            other: events(node, job, other).notifier_builder().create().expect("there is room"),
            busy: job.peer == Peer::Iceoryx2Busy,
            woken: Cell::new(0),
        }
    }

    fn wake(&self) {
        if !self.busy {
            self.other.notify().expect("the other side listens");
        }
    }

    fn wait(&self) {
        if self.busy {
            std::hint::spin_loop();
        } else {
            let woken = self.own.blocking_wait(|_| {}).expect("waiting works");
            self.woken.set(self.woken.get() + woken);
        }
    }
}

/// Serves until the process is killed.
pub fn serve(job: &Job) {
    let node = node();
    let server = calls(&node, job)
        .server_builder()
        .initial_max_slice_len(job.work.size())
        .create()
        .expect("there is room");
    let waking = Waking::new(&node, job, "requests", "responses");
    ready();
    loop {
        let mut answered = false;
        while let Some(request) = server.receive().expect("the clients stand") {
            answer(&request);
            answered = true;
        }
        if answered {
            waking.wake();
        } else {
            waking.wait();
        }
    }
}

fn answer(request: &ActiveRequest<ipc::Service, [u8], (), [u8], ()>) {
    let response = request.loan_slice_uninit(request.payload().len()).expect("there is room");
    // Who has gone meanwhile is not answered.
    let _ = response.write_from_slice(request.payload()).send();
}

struct Caller<'a> {
    client: Client<ipc::Service, [u8], (), [u8], ()>,
    waking: &'a Waking,
    payload: Vec<u8>,
}

impl Caller<'_> {
    fn send(&self) -> Pending {
        let request = self.client.loan_slice_uninit(self.payload.len()).expect("there is room");
        request.write_from_slice(&self.payload).send().expect("the server stands")
    }

    fn is_answered(&self, pending: &Pending) -> bool {
        let Some(response) = pending.receive().expect("the server stands") else { return false };
        // As other peers do: the caller has the bytes.
        assert_eq!(response.payload().to_vec().len(), self.payload.len());
        true
    }

    fn echo(&self) {
        let pending = self.send();
        self.waking.wake();
        while !self.is_answered(&pending) {
            self.waking.wait();
        }
    }

    fn echo_at_once(&self) {
        let mut pending: Vec<_> = (0..AT_ONCE).map(|_| self.send()).collect();
        self.waking.wake();
        while !pending.is_empty() {
            let before = pending.len();
            pending.retain(|pending| !self.is_answered(pending));
            if pending.len() == before {
                self.waking.wait();
            }
        }
    }
}

/// Does the work.
pub fn run(job: &Job) -> Vec<f64> {
    let node = node();
    let service = calls(&node, job);
    let waking = Waking::new(&node, job, "responses", "requests");
    let connect = || Caller {
        client: service
            .client_builder()
            .initial_max_slice_len(job.work.size())
            .create()
            .expect("there is room"),
        waking: &waking,
        payload: vec![7; job.work.size()],
    };
    match job.work {
        Work::RoundTrip => {
            let caller = connect();
            time_calls(|| caller.echo())
        }
        Work::Callers => {
            let caller = connect();
            vec![rate(|| caller.echo_at_once()) * AT_ONCE as f64 / 1000.0]
        }
        Work::Bulk => {
            let caller = connect();
            vec![rate(|| caller.echo())]
        }
        _ => unreachable!("it cannot do that"),
    }
}
