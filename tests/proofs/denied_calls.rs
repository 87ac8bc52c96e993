//! Proof 32: each optional system call denied with EPERM, EACCES and ENOSYS in turn.
//!
//! Container runtimes and sandboxes answer a system call that they do not know with any of
//! the three.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use panpipe_tests::process::Process;
use panpipe_tests::sys::places::{in_user_namespace, with_umask, without_proc};
use panpipe_tests::sys::seccomp::optional_calls;
use panpipe_tests::sys::users::{Ids, run_as};
use panpipe_tests::users::{Open, User, can_be_somebody_else};
use panpipe_tests::{is_full, unique_name};

const REFUSALS: [&str; 3] = ["EPERM", "EACCES", "ENOSYS"];

/// A program to which a system call is denied.
fn denied(call: &str, refusal: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_denied"));
    command.args([call, refusal]).arg(program);
    command
}

/// The program of an example. Built here: `cargo test` builds it only when it tests all packages.
fn example(name: &str) -> PathBuf {
    static PROFILE: OnceLock<PathBuf> = OnceLock::new();
    let profile = PROFILE.get_or_init(|| {
        let this = std::env::current_exe().unwrap();
        let profile = this.parent().and_then(|deps| deps.parent()).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        // All packages: features as in a test of all packages, which has built these then.
        build.args(["build", "-q", "--workspace", "--examples"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the examples are built");
        profile
    });
    profile.join("examples").join(name)
}

fn run_to_the_end(command: &mut Command, what: &str) {
    let output = command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).output().unwrap();
    let [lines, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{what}: {}:\n{lines}\n{errors}", output.status);
}

/// Runs `test` for each optional call and refusal; names every pair that failed.
fn for_each_refusal(test: impl Fn(&str, &str) + std::panic::RefUnwindSafe) {
    for_refusals(&test, |_| REFUSALS.to_vec());
}

/// The same; the ordinary run takes one refusal for each call, another one each time.
fn for_some_refusals(test: impl Fn(&str, &str) + std::panic::RefUnwindSafe) {
    for_refusals(&test, |index| if is_full() { REFUSALS.to_vec() } else { vec![REFUSALS[index % 3]] });
}

fn for_refusals(
    test: &(impl Fn(&str, &str) + std::panic::RefUnwindSafe),
    refusals: impl Fn(usize) -> Vec<&'static str>,
) {
    let mut failed = Vec::new();
    for (index, call) in optional_calls().enumerate() {
        for refusal in refusals(index) {
            if std::panic::catch_unwind(|| test(call, refusal)).is_err() {
                failed.push(format!("{call} with {refusal}"));
            }
        }
    }
    assert!(failed.is_empty(), "denied: {failed:#?}");
}

#[test]
fn quickstart_runs_without_any_one_optional_system_call() {
    let program = example("quickstart");
    for_some_refusals(|call, refusal| run_to_the_end(&mut denied(call, refusal, &program), call));
}

#[test]
fn plugin_host_runs_without_any_one_optional_system_call() {
    let program = example("plugin_host");
    for_some_refusals(|call, refusal| run_to_the_end(&mut denied(call, refusal, &program), call));
}

#[test]
fn blocking_example_runs_without_any_one_optional_system_call() {
    let program = example("blocking");
    for_some_refusals(|call, refusal| run_to_the_end(&mut denied(call, refusal, &program), call));
}

/// The bypass begins in mid-connection, where each side uses system calls that it has not
/// used before.
#[test]
fn a_bypass_begins_where_one_side_lacks_a_system_call() {
    let (server, client) = (env!("CARGO_BIN_EXE_server"), env!("CARGO_BIN_EXE_client"));
    for_each_refusal(|call, refusal| {
        for is_server_denied in [true, false] {
            let name = unique_name("denied");
            let command = |is_denied: bool, program: &str| match is_denied {
                true => denied(call, refusal, program),
                false => Command::new(program),
            };
            let server = Process::start(command(is_server_denied, server).arg(&name)).serving(&name);
            server.wait_for("ready");
            let mut client = command(!is_server_denied, client);
            run_to_the_end(client.args([name.as_str(), "many"]), call);
            assert!(server.finish().success(), "{call}");
        }
    });
}

/// Where a container, a cron job, `su` or a careless umask puts a program.
#[test]
fn examples_run_unprivileged_and_where_little_is_as_usual() {
    if !can_be_somebody_else() {
        return;
    }
    let (user, other) = (User::new(), User::new());
    for name in ["quickstart", "plugin_host", "blocking"] {
        let open = Open::with(example(name).to_str().unwrap());
        let as_user = || user.command(&open.program);
        let run = |command: &mut Command, place: &str| run_to_the_end(command, &format!("{name}, {place}"));
        run(&mut as_user(), "without XDG_RUNTIME_DIR");
        let foreign = open.folder_of("foreign", &other, 0o700);
        run(as_user().env("XDG_RUNTIME_DIR", &foreign), "XDG_RUNTIME_DIR of another user");
        let long = open.folder_of(&"x".repeat(100), &user, 0o700);
        run(as_user().env("XDG_RUNTIME_DIR", &long), "long XDG_RUNTIME_DIR");
        run(with_umask(&mut as_user(), 0o777), "umask 0777");
        run(in_user_namespace(&mut as_user(), Some(user.uid)), "a user namespace of one user");
    }
}

/// The examples start themselves, which takes /proc; these programs do not.
#[test]
fn calls_and_plugins_work_without_proc() {
    if !can_be_somebody_else() {
        return;
    }
    let user = User::new();
    let command = |program: &Path| {
        let mut command = Command::new(program);
        run_as(without_proc(&mut command), Ids { uid: user.uid, gid: user.gid, groups: &[] });
        command.env_remove("XDG_RUNTIME_DIR");
        command
    };
    let [server, client, host, plugin] = [
        env!("CARGO_BIN_EXE_server"),
        env!("CARGO_BIN_EXE_client"),
        env!("CARGO_BIN_EXE_host"),
        env!("CARGO_BIN_EXE_plugin"),
    ]
    .map(Open::with);
    let server = Process::start(command(&server.program).arg("store"));
    server.wait_for("ready");
    run_to_the_end(command(&client.program).args(["store", "many"]), "many calls");
    assert!(server.finish().success());
    let host = Process::start(command(&host.program).arg(&plugin.program).arg("2"));
    let plugins = [host.line(), host.line()];
    assert!(plugins.iter().all(|pids| pids.split(' ').count() == 2), "{plugins:?}");
    host.wait_for("ready");
}
