//! Proof 21: a host with SIGPIPE at its default, which is death.

use std::process::Command;

#[test]
fn proof_21_writing_to_a_closed_peer_is_an_error_and_no_death() {
    for what in ["pipe", "socket", "client", "child", "fifo"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sigpipe")).arg(what).output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{what}: {}, {words}", output.status);
        assert_eq!(words.trim(), "1000 errors, alive", "{what}");
    }
}
