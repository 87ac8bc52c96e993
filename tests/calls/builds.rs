//! Two sides that were built from different versions of a trait.

use std::process::Command;

use panpipe_tests::process::Process;
use panpipe_tests::unique_name;

const V3: &str = env!("CARGO_BIN_EXE_v3");
const V4: &str = env!("CARGO_BIN_EXE_v4");
const V6: &str = env!("CARGO_BIN_EXE_v6");

/// What a program prints until it ends, which it must do well.
fn output(program: &str, args: [&str; 2]) -> Vec<String> {
    let mut process = Process::start(Command::new(program).args(args));
    assert!(process.wait().success(), "{program} {args:?}");
    process.rest()
}

/// What a client of the one program has of a server of the other.
fn over_a_named_pipe(server: &str, client: &str) -> Vec<String> {
    let name = unique_name("versions");
    let server = Process::start(Command::new(server).args(["server", &name])).serving(&name);
    server.wait_for("ready");
    let output = output(client, ["client", &name]);
    assert!(server.finish().success());
    output
}

/// What both an old host and an old client see of a plugin that is newer, and of one
/// that is not.
fn seen_by_v3(theme: &str) -> Vec<String> {
    vec![
        "version: None".to_owned(),
        "format: Ok(\"    text\")".to_owned(),
        "version: Some(3)".to_owned(),
        format!("spoken: Ok(\"called in Some(3), calls in Some(3), heard in Some(3){theme}\")"),
    ]
}

/// What a new one sees of one that is old.
fn v3_seen_by_v4() -> Vec<String> {
    vec![
        "version: None".to_owned(),
        "format_from: Err(UnknownMethod)".to_owned(),
        "format: Ok(\"    text\")".to_owned(),
        "version: Some(3)".to_owned(),
        "spoken: Ok(\"called in Some(3), calls in Some(3), heard in Some(3)\")".to_owned(),
        "format_from: Err(UnknownMethod)".to_owned(),
        "forget: Err(UnknownMethod)".to_owned(),
    ]
}

/// And of one that is as new.
fn v4_seen_by_v4() -> Vec<String> {
    vec![
        "version: None".to_owned(),
        "format_from: Ok(\"a     text\")".to_owned(),
        "format: Ok(\"    text\")".to_owned(),
        "version: Some(4)".to_owned(),
        "spoken: Ok(\"called in Some(4), calls in Some(4), heard in Some(4), Ok(\\\"width 8 on white\\\")\")"
            .to_owned(),
        "format_from: Err(App(\"out of the text\"))".to_owned(),
        "forget: Ok(())".to_owned(),
    ]
}

fn and_ended(mut lines: Vec<String>) -> Vec<String> {
    lines.push("ended: true".to_owned());
    lines
}

#[test]
fn a_plugin_of_this_month_works_with_the_host_of_last_month_and_the_other_way_round() {
    assert_eq!(output(V3, ["host", V3]), and_ended(seen_by_v3("")));
    assert_eq!(output(V3, ["host", V4]), and_ended(seen_by_v3(", Err(UnknownMethod)")));
    assert_eq!(output(V4, ["host", V3]), and_ended(v3_seen_by_v4()));
    assert_eq!(output(V4, ["host", V4]), and_ended(v4_seen_by_v4()));
}

#[test]
fn so_do_clients_and_servers() {
    assert_eq!(over_a_named_pipe(V4, V3), seen_by_v3(", Err(UnknownMethod)"));
    assert_eq!(over_a_named_pipe(V3, V4), v3_seen_by_v4());
    assert_eq!(over_a_named_pipe(V4, V4), v4_seen_by_v4());
}

#[test]
fn those_without_a_common_version_hear_both_ranges_and_who_is_older() {
    let old = "the service test.formatter versions 3 to 4 was asked for, but the side that was asked offers versions 5 to 6: \
               the side that asks is the older one, update it";
    for lines in [output(V4, ["host", V6]), over_a_named_pipe(V6, V4)] {
        assert!(lines[2].starts_with("format: Err(Refused(") && lines[2].contains(old), "{lines:?}");
        assert!(lines[2].contains("ServiceVersion") && lines[3] == "version: None", "{lines:?}");
    }
    let new = "the service test.formatter versions 5 to 6 was asked for, but the side that was asked offers version 3: \
               the side that offers is the older one, update it";
    for lines in [output(V6, ["host", V3]), over_a_named_pipe(V3, V6)] {
        assert!(lines[1].contains(new), "{lines:?}");
    }
}
