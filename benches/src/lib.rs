//! Shared by the benches of panpipe.
