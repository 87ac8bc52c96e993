//! zlink (Varlink, JSON) over a Unix socket.
//!
//! Bytes are base64 in a string, which is what JSON has for them. A connection is for
//! one caller at a time; many callers share it by a task that puts their calls into
//! one write and gives them the replies in order, which is what zlink's own chains of
//! calls do. So many of them go at once that neither side fills the other's socket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use panpipe_benches::job::{Work, ready};
use panpipe_benches::work;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};
use zlink::tokio::unix;
use zlink::{Call, ReplyError, Server};

/// How many calls go at once.
const AT_ONCE: usize = 256;

// What its macro makes has no documentation.
#[allow(missing_docs)]
mod served {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::Serialize;
    use zlink::{introspect, service};

    pub(super) struct Echoing;

    #[derive(Debug, Serialize, introspect::Type)]
    struct Echoed {
        bytes: String,
    }

    #[service(interface = "org.example.Echo")]
    impl Echoing {
        async fn echo(&mut self, bytes: &str) -> Echoed {
            let bytes = STANDARD.decode(bytes).expect("the client sends base64");
            Echoed { bytes: STANDARD.encode(bytes) }
        }
    }
}

/// Serves on a path until the process is killed.
pub async fn serve(path: &str) {
    let server = Server::new(unix::bind(path).expect("the path is free"), served::Echoing);
    ready();
    server.run().await.expect("it serves");
}

#[derive(Debug, Serialize)]
#[serde(tag = "method", content = "parameters")]
enum Method {
    #[serde(rename = "org.example.Echo.Echo")]
    Echo { bytes: String },
}

#[derive(Debug, Deserialize)]
struct Answer<'a> {
    bytes: &'a str,
}

#[derive(Debug, ReplyError)]
#[zlink(interface = "org.example.Echo")]
enum Failure {}

type Waiting = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// A connection.
pub enum Connection {
    /// Of one caller.
    Own(Box<Mutex<unix::Connection>>),
    /// Of many.
    Shared(mpsc::UnboundedSender<Waiting>),
}

fn call(payload: &[u8]) -> Call<Method> {
    Call::new(Method::Echo { bytes: STANDARD.encode(payload) })
}

async fn answer(connection: &mut unix::Connection) -> Vec<u8> {
    let (reply, _) = connection.receive_reply::<Answer<'_>, Failure>().await.expect("the server answers");
    let reply = reply.expect("it does not fail");
    STANDARD.decode(reply.parameters().expect("it has parameters").bytes).expect("it sends base64")
}

async fn share(mut connection: unix::Connection, mut calls: mpsc::UnboundedReceiver<Waiting>) {
    let (mut batch, mut waiting) = (Vec::new(), Vec::new());
    while calls.recv_many(&mut batch, AT_ONCE).await > 0 {
        for (payload, sender) in batch.drain(..) {
            connection.enqueue_call(&call(&payload)).expect("it can be encoded");
            waiting.push(sender);
        }
        connection.flush().await.expect("the server reads");
        for sender in waiting.drain(..) {
            let _ = sender.send(answer(&mut connection).await);
        }
    }
}

impl work::Echo for Connection {
    type Payload = Vec<u8>;

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        match self {
            Connection::Own(connection) => {
                let mut connection = connection.lock().await;
                connection.send_call(&call(&payload), Vec::new()).await.expect("the server reads");
                answer(&mut connection).await
            }
            Connection::Shared(calls) => {
                let (sender, receiver) = oneshot::channel();
                calls.send((payload, sender)).expect("the connection stands");
                receiver.await.expect("the server answers")
            }
        }
    }
}

/// A client of [`serve`].
pub async fn connect(path: &str, work: Work) -> Connection {
    let connection = unix::connect(path).await.expect("the server listens");
    if work.calls() <= 2 {
        return Connection::Own(Box::new(Mutex::new(connection)));
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(share(connection, receiver));
    Connection::Shared(sender)
}
