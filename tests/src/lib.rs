//! Shared by the tests of panpipe.
