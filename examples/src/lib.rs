//! Shared by the examples of panpipe.
