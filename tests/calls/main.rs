//! Calls between real processes: what each part of the product promises when
//! all goes well, and what each failure looks like to whoever calls.

#![allow(clippy::unwrap_used)]

#[path = "../common.rs"]
mod common;

mod cancellation;
mod children;
mod clients;
mod deadlines;
mod failures;
mod limits;
mod names;
mod other_carriers;
mod protocol_text;
mod refusals;
mod server_end;
mod stock_tarpc;
mod values;
