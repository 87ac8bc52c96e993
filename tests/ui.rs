//! What the attribute takes, and what it says of what it does not take.
//!
//! After a change of the words: `TRYBUILD=overwrite cargo test -p panpipe-tests
//! --test ui`, and read the difference.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
