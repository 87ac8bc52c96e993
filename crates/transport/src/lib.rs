//! Named and anonymous pipes as typed transports.

pub mod buffer;
pub mod frame;
pub mod limits;
pub mod varint;
