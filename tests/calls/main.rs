//! Calls between real processes: what each part of the product promises when
//! all goes well, and what each failure looks like to whoever calls.

#![allow(clippy::unwrap_used)]

#[path = "../common.rs"]
mod common;

mod access;
mod activation;
mod authorize;
mod blocking;
mod blocking_handlers;
mod blocking_servers;
mod builds;
mod bypass;
mod bypass_of_threads;
mod callbacks;
mod cancellation;
mod children;
mod clients;
mod clock;
mod closing;
mod deadlines;
mod edges;
mod failures;
mod flush;
mod from_dotnet;
mod hooked;
mod hub;
mod identity;
mod large_handlers;
mod large_messages;
mod latency;
mod layers;
mod limits;
mod many_threads;
mod metadata;
mod names;
mod one_way_calls;
mod oneway_pipes;
mod ordered;
mod other_carriers;
mod places;
mod plugins;
mod protocol_text;
mod reaped;
mod reconnecting;
mod refusals;
mod retiring;
mod senders;
mod server_end;
mod services;
mod signals;
mod silent_servers;
mod stock_tarpc;
mod streams;
mod traces;
mod values;
mod versions;
mod watches;
