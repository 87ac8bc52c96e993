//! Calls between real processes: what each part of the product promises when
//! all goes well, and what each failure looks like to whoever calls.

#![allow(clippy::unwrap_used)]

#[path = "../common.rs"]
mod common;

mod authorize;
mod callbacks;
mod cancellation;
mod children;
mod clients;
mod deadlines;
mod edges;
mod failures;
mod large_messages;
mod layers;
mod limits;
mod names;
mod one_way_calls;
mod other_carriers;
mod protocol_text;
mod refusals;
mod senders;
mod server_end;
mod services;
mod stock_tarpc;
mod streams;
mod traces;
mod values;
