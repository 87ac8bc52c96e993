//! Plugins: started, called, crashed, restarted, ended.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use panpipe::{
    Backoff, CallError, Limits, Output, Plugin, PluginBuilder, PluginChange, PluginError, PluginEvent,
    Plugins, RefusalReason,
};
use panpipe_tests::plug::{Adder, COOKIE, Host, Log, PlugClient};
use panpipe_tests::probe::ProbeClient;
use panpipe_tests::process::Process;
use panpipe_tests::sys::processes;
use panpipe_tests::sys::terminal::Terminal;
use panpipe_tests::users::can_be_somebody_else;
use panpipe_tests::{PATIENCE, eventually, system};
use tokio::time::timeout;

fn command(what: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plugin"));
    command.arg(what).stdin(Stdio::null());
    command
}

fn builder(what: &str) -> PluginBuilder {
    Plugin::spawn(command(what)).cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}))
}

async fn good() -> Plugin<PlugClient> {
    builder("good").start().await.unwrap()
}

/// One that is restarted, and what happens to it.
async fn restarted(backoff: Backoff) -> (Plugin<PlugClient>, Log) {
    let log = Log::default();
    let told = log.clone();
    let restarting = builder("good").restart(backoff).on_event(move |event| {
        told.push(match event {
            PluginEvent::Started { .. } => "started".to_owned(),
            PluginEvent::Exited { status, stderr_tail, .. } => {
                format!("exited: {}: {stderr_tail}", status.expect("nobody else reaps it"))
            }
            PluginEvent::Restarted { times, .. } => format!("restarted {times}"),
            PluginEvent::Unhealthy { .. } => "unhealthy".to_owned(),
            PluginEvent::StartFailed { error, .. } => format!("failed: {error}"),
            PluginEvent::GaveUp { .. } => "gave up".to_owned(),
            other => format!("{other:?}"),
        });
    });
    (restarting.start().await.unwrap(), log)
}

#[tokio::test]
async fn a_plugin_is_called_calls_its_host_and_ends_in_order() {
    let plugin = good().await;
    assert_eq!(plugin.client().add(20, 22).await, Ok(Some(42)));
    assert_eq!(plugin.client().pid().await.ok(), plugin.pid());
    assert_eq!(plugin.name(), "plugin");
    let pid = plugin.pid().unwrap();
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
    assert!(!system::exists(pid), "it has been reaped");
}

#[tokio::test]
async fn what_is_no_plugin_is_told_apart_with_the_last_of_its_words() {
    let error = builder("exit").start::<PlugClient>().await.unwrap_err();
    assert!(
        matches!(&error, PluginError::Exited { status, .. } if status.unwrap().code() == Some(7)),
        "{error:?}"
    );
    let words = error.to_string();
    assert!(
        words.contains("plugin") && words.contains("no licence to run") && words.contains('7'),
        "{words}"
    );

    let soon = Duration::from_millis(200);
    let error = builder("silent").handshake_timeout(soon).start::<PlugClient>().await.unwrap_err();
    assert!(matches!(error, PluginError::Timeout { .. }), "{error:?}");
    assert!(error.to_string().contains("200ms"), "{error}");

    let error = builder("garbage").start::<PlugClient>().await.unwrap_err();
    assert!(matches!(error, PluginError::NotAPlugin { .. }), "{error:?}");
    assert!(error.to_string().contains("does not speak panpipe"), "{error}");

    let error = builder("closes").start::<PlugClient>().await.unwrap_err();
    assert!(matches!(error, PluginError::NotAPlugin { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("closed its pipes") && words.contains("hung up"), "{words}");

    let error = builder("good").start::<ProbeClient>().await.unwrap_err();
    assert!(
        matches!(&error, PluginError::Refused { refusal, .. } if refusal.reason == RefusalReason::Service),
        "{error:?}"
    );
    assert!(error.to_string().contains("Probe") && error.to_string().contains("Plug"), "{error}");

    let nothing = Plugin::spawn(Command::new("/no/such/plugin"));
    let error = nothing.start::<PlugClient>().await.unwrap_err();
    assert!(matches!(error, PluginError::Program { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/plugin"), "{error}");
}

#[test]
fn a_plugin_run_by_hand_says_what_it_is_and_fails() {
    let output = command("good").output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("plugin") && words.contains(COOKIE), "{words}");
    assert_eq!(words.lines().count(), 1);
}

#[tokio::test]
async fn a_crash_is_told_with_its_cause_and_the_next_call_succeeds() {
    let (plugin, log) = restarted(Backoff::exponential().attempts(5)).await;
    let client = plugin.client().clone();
    let first = client.pid().await.unwrap();
    let hanging = tokio::spawn(client.hang());
    // It has been read: what has not been sent would be called again.
    assert_eq!(client.add(1, 2).await, Ok(Some(3)));
    let crash = client.crash("out of cheese".to_owned()).await;
    assert_eq!(crash, Err(CallError::Disconnected { sent: true }));
    assert_eq!(hanging.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    // Waits for the new process.
    let second = client.pid().await.unwrap();
    assert_ne!(first, second);
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
    let events = log.all();
    assert_eq!((&*events[0], &*events[2], events.len()), ("started", "restarted 1", 3), "{events:?}");
    assert!(events[1].contains("SIGABRT") && events[1].contains("out of cheese"), "{events:?}");
    plugin.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn an_idempotent_call_survives_the_crash_of_its_plugin() {
    let (plugin, _) = restarted(Backoff::exponential()).await;
    let before = plugin.client().pid().await.unwrap();
    // The process is stopped, so that the calls are with it when it is killed.
    let pid = rustix::process::Pid::from_raw(before as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    eventually("it has stopped", PATIENCE, async || system::is_stopped(before)).await;
    let calls: Vec<_> = (0..10).map(|_| tokio::spawn(plugin.client().pid())).collect();
    tokio::task::yield_now().await;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for call in calls {
        assert_ne!(call.await.unwrap().unwrap(), before);
    }
}

#[tokio::test]
async fn without_restart_a_dead_plugin_fails_its_calls_and_says_how_it_ended() {
    let plugin = good().await;
    assert_eq!(plugin.client().exit(3).await, Err(CallError::Disconnected { sent: true }));
    plugin.ended().await;
    assert_eq!(plugin.pid(), None);
    assert_eq!(plugin.client().add(1, 2).await, Err(CallError::Disconnected { sent: false }));
    assert_eq!(plugin.shutdown(PATIENCE).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn it_is_given_up_after_as_many_tries_as_were_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let log = Log::default();
    let told = log.clone();
    let mut command = command("once");
    command.arg(&mark);
    let plugin: Plugin<PlugClient> = Plugin::spawn(command)
        .cookie(COOKIE)
        .offer(Adder.serve())
        .stderr(Output::lines(|_| {}))
        .restart(Backoff::exponential().attempts(3))
        .on_event(move |event| told.push(event.to_string()))
        .start()
        .await
        .unwrap();
    let exit = plugin.client().exit(1).await;
    assert_eq!(exit, Err(CallError::Disconnected { sent: true }));
    let error = plugin.client().add(1, 2).await.unwrap_err();
    assert_eq!(error, CallError::Disconnected { sent: false });
    plugin.ended().await;
    let events = log.all();
    assert!(events.last().unwrap().contains("given up"), "{events:?}");
    let failures: Vec<_> = events.iter().filter(|event| event.contains("I have run once")).collect();
    assert!((2..=3).contains(&failures.len()), "{events:?}");
}

#[tokio::test]
async fn a_plugin_that_does_not_answer_is_killed_and_started_again() {
    let log = Log::default();
    let told = log.clone();
    let plugin: Plugin<PlugClient> = builder("good")
        .health(Duration::from_millis(50), Duration::from_secs(2))
        .restart(Backoff::exponential())
        .on_event(move |event| told.push(event.to_string()))
        .start()
        .await
        .unwrap();
    // A long call is no sickness.
    let hang = plugin.client().with_timeout(Duration::from_millis(600)).hang().await;
    assert_eq!(hang, Err(CallError::DeadlineExceeded));
    assert_eq!(log.all().len(), 1);
    let blocked = plugin.client().block(60_000).await;
    assert_eq!(blocked, Err(CallError::Disconnected { sent: true }));
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
    assert!(log.all()[1].contains("does not answer"), "{:?}", log.all());
}

#[tokio::test]
async fn one_that_does_not_want_to_end_is_made_to() {
    let plugin = good().await;
    let pid = plugin.pid().unwrap();
    let blocked = tokio::spawn(plugin.client().block(600_000));
    eventually("it blocks", PATIENCE, async || system::is_sleeping_in(pid, "nanosleep")).await;
    let status = plugin.shutdown(Duration::from_millis(100)).await.unwrap();
    assert!(!status.success());
    assert!(!system::exists(pid));
    assert!(blocked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_reloaded_plugin_finishes_its_calls_while_the_new_one_takes_over() {
    let (plugin, log) = restarted(Backoff::exponential()).await;
    let (client, first) = (plugin.client().clone(), plugin.pid().unwrap());
    let before = tokio::spawn(client.block(300));
    eventually("it blocks", PATIENCE, async || system::is_sleeping_in(first, "nanosleep")).await;
    plugin.reload().await.unwrap();
    assert_eq!(before.await.unwrap(), Ok(()));
    eventually("the new one runs", PATIENCE, async || plugin.pid().is_some_and(|pid| pid != first)).await;
    assert_ne!(client.pid().await.unwrap(), first);
    eventually("the old one has ended in order", PATIENCE, async || {
        log.all().iter().any(|event| event.starts_with("exited: exit status: 0"))
    })
    .await;
    assert!(!system::exists(first));
}

#[tokio::test]
async fn a_plugin_that_misbehaves_disturbs_no_call_and_no_end() {
    let lines = Log::default();
    let (out, err) = (lines.clone(), lines.clone());
    let mut command = command("good");
    command.stdin(Stdio::null());
    let plugin: Plugin<PlugClient> = Plugin::spawn(command)
        .cookie(COOKIE)
        .offer(Adder.serve())
        .stdout(Output::lines(move |line| out.push(format!("out: {line}"))))
        .stderr(Output::lines(move |line| err.push(format!("err: {line}"))))
        .start()
        .await
        .unwrap();
    let client = plugin.client();
    let (printed, sum) = tokio::join!(client.print(500), client.add(1, 2));
    assert_eq!((printed, sum), (Ok(()), Ok(Some(3))));
    eventually("every line has come", PATIENCE, async || lines.all().len() == 1000).await;
    assert!(lines.all().contains(&"out: line 499 to the standard output".to_owned()));
    assert_eq!(client.read_stdin().await, Ok(0));
    assert_eq!(client.close_stdout().await, Ok(()));
    // Its child has the pipes to the host, and holds nothing up.
    let grandchild = client.leave_a_child().await.unwrap();
    assert_eq!(client.add(1, 2).await, Ok(Some(3)));
    assert!(system::runs(grandchild));
    let start = std::time::Instant::now();
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
    eventually("what it left is gone", PATIENCE, async || !system::runs(grandchild)).await;
}

#[tokio::test]
async fn with_the_handle_goes_the_plugin_and_what_it_started() {
    let plugin = good().await;
    let (pid, grandchild) = (plugin.pid().unwrap(), plugin.client().leave_a_child().await.unwrap());
    drop(plugin);
    eventually("both are gone", PATIENCE, async || !system::exists(pid) && !system::runs(grandchild)).await;
}

#[tokio::test]
async fn a_plugin_inherits_its_own_pipes_and_nothing_else() {
    // Not close-on-exec, as of a careless library.
    let _leak = panpipe_tests::sys::leaky_file();
    let plugin = good().await;
    let descriptors = plugin.client().descriptors().await.unwrap();
    let (mut pipes, mut others) = (0, Vec::new());
    for descriptor in &descriptors {
        match descriptor.split_once(' ').unwrap() {
            ("0" | "1" | "2", _) => {}
            (_, what) if what.starts_with("pipe:") => pipes += 1,
            // Of its own runtime.
            (_, what)
                if what.contains("eventpoll") || what.contains("eventfd") || what.starts_with("socket:") => {}
            (_, what) => others.push(what),
        }
    }
    assert_eq!((pipes, others), (2, vec![]), "{descriptors:?}");
}

#[tokio::test]
async fn a_plugin_is_held_to_its_limits() {
    let plugin: Plugin<PlugClient> = builder("good")
        .limit_memory(4 << 30)
        .limit_cpu(Duration::from_secs(1))
        .limit_files(64)
        .start()
        .await
        .unwrap();
    let limits = plugin.client().limits().await.unwrap();
    assert_eq!(limits, [Some(4 << 30), Some(1), Some(64)]);
}

#[tokio::test]
async fn a_plugin_may_be_reached_over_its_standard_streams() {
    // As behind ssh: a wrapper that passes on nothing but those.
    let mut wrapper = Command::new("sh");
    wrapper
        .args(["-c", "unset PANPIPE_TEST_PLUGIN; PANPIPE_TEST_PLUGIN=stdio exec \"$0\" good 3<&- 4<&- 5<&-"])
        .arg(env!("CARGO_BIN_EXE_plugin"));
    let plugin: Plugin<PlugClient> = Plugin::spawn(wrapper)
        .cookie(COOKIE)
        .over_stdio()
        .offer(Adder.serve())
        .stderr(Output::lines(|_| {}))
        .start()
        .await
        .unwrap();
    assert_eq!(plugin.client().add(20, 22).await, Ok(Some(42)));
    // What it prints goes elsewhere.
    assert_eq!(plugin.client().print(100).await, Ok(()));
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn the_process_that_takes_over_is_looked_after_while_the_old_one_finishes() {
    let (plugin, _) = restarted(Backoff::exponential()).await;
    let (client, first) = (plugin.client().clone(), plugin.pid().unwrap());
    // A call that the old one does not finish: it has 30 seconds for it.
    let hanging = tokio::spawn(client.hang());
    assert_eq!(client.add(1, 2).await, Ok(Some(3)));
    plugin.reload().await.unwrap();
    let second = client.pid().await.unwrap();
    assert_ne!(second, first);
    assert_eq!(client.crash("too early".to_owned()).await, Err(CallError::Disconnected { sent: true }));
    let third = timeout(PATIENCE / 4, client.pid()).await.expect("it is started again at once").unwrap();
    assert!(third != first && third != second);
    // Nor is the end held up by the old one.
    let end = timeout(PATIENCE / 4, plugin.shutdown(Duration::from_millis(100)));
    assert!(end.await.expect("it has so long and no longer").unwrap().success());
    assert_eq!(hanging.await.unwrap(), Err(CallError::Disconnected { sent: true }));
    eventually("the old one has gone", PATIENCE, async || !system::exists(first)).await;
}

#[tokio::test]
async fn a_plugin_that_is_being_started_again_ends_when_it_is_told_to() {
    let (plugin, _) = restarted(Backoff::exponential().first(PATIENCE * 10).for_at_most(PATIENCE * 99)).await;
    assert_eq!(plugin.client().exit(3).await, Err(CallError::Disconnected { sent: true }));
    eventually("it waits for the next start", PATIENCE, async || plugin.pid().is_none()).await;
    let error = plugin.reload().await.unwrap_err();
    assert!(error.to_string().contains("no process of it runs"), "{error}");
    let end = timeout(PATIENCE / 2, plugin.shutdown(Duration::ZERO)).await.expect("no start is waited for");
    assert_eq!(end.unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_plugin_that_is_being_reloaded_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "if mkdir \"$1\"; then exec \"$0\" good; else exec sleep 1000; fi"])
        .args([env!("CARGO_BIN_EXE_plugin").as_ref(), folder.path().join("mark").as_os_str()])
        .stdin(Stdio::null());
    let plugin: Plugin<PlugClient> = Plugin::spawn(command)
        .cookie(COOKIE)
        .offer(Adder.serve())
        .stderr(Output::lines(|_| {}))
        .handshake_timeout(PATIENCE * 10)
        .start()
        .await
        .unwrap();
    let mut reload = Box::pin(plugin.reload());
    assert!(futures::poll!(&mut reload).is_pending());
    drop(reload);
    let end = timeout(PATIENCE / 2, plugin.shutdown(PATIENCE)).await.expect("no start is waited for");
    assert!(end.unwrap().success());
}

#[tokio::test]
async fn who_else_has_the_pipes_of_a_plugin_holds_no_call_up() {
    for is_dropped in [true, false] {
        let plugin = good().await;
        let (client, pid) = (plugin.client().clone(), plugin.pid().unwrap());
        let daemon = client.leave_a_daemon().await.unwrap();
        let hanging = tokio::spawn(client.hang());
        assert_eq!(client.add(1, 2).await, Ok(Some(3)));
        if is_dropped {
            drop(plugin);
        } else {
            let end = tokio::spawn(plugin.shutdown(PATIENCE));
            eventually("it is told", PATIENCE, async || client.pid().await.is_err()).await;
            kill(pid);
            end.await.unwrap().unwrap();
        }
        let ended = timeout(PATIENCE / 4, hanging).await;
        kill(daemon);
        assert_eq!(ended.expect("it ends").unwrap(), Err(CallError::Disconnected { sent: true }));
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_hook_that_panics_takes_nothing_down() {
    let plugin: Plugin<PlugClient> =
        builder("good").on_event(|_| panic!("a bug of the hook's")).start().await.unwrap();
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());

    let lines = Output::lines(|_| panic!("a bug of the hook's"));
    let plugin: Plugin<PlugClient> = builder("good").stdout(lines).start().await.unwrap();
    assert_eq!(plugin.client().print(1).await, Ok(()));
    // Its standard output is still read.
    assert_eq!(plugin.client().print(5000).await, Ok(()));
    assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
}

#[test]
fn a_host_whose_standard_error_is_not_read_does_its_work() {
    let host = Process::start(Command::new(env!("CARGO_BIN_EXE_unheard")).arg(env!("CARGO_BIN_EXE_plugin")));
    assert_eq!(host.line(), "ready");
}

#[tokio::test]
async fn a_plugin_is_not_ended_for_being_idle() {
    let limits = Limits { idle_timeout: Some(Duration::from_millis(50)), ..Limits::default() };
    let plugin: Plugin<PlugClient> = builder("good").limits(limits).start().await.unwrap();
    assert!(timeout(Duration::from_millis(500), plugin.ended()).await.is_err());
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
}

#[tokio::test]
async fn a_runtime_that_cannot_start_a_plugin_takes_no_other_down() {
    let plugin = good().await;
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(builder("good").over_stdio().start::<PlugClient>()).map(drop)
    };
    let error = std::thread::spawn(start).join().unwrap().unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
    assert_eq!(plugin.client().add(1, 2).await, Ok(Some(3)));
    assert_eq!(good().await.client().add(1, 2).await, Ok(Some(3)));
}

/// A folder of plugins, each a script that runs one.
struct Folder(tempfile::TempDir);

impl Folder {
    fn put(&self, name: &str, what: &str) {
        use std::os::unix::fs::PermissionsExt;
        let script = format!("#!/bin/sh\nexec {} {what}\n", env!("CARGO_BIN_EXE_plugin"));
        let (file, written) = (self.0.path().join(name), self.0.path().join("half-written"));
        // By another process: a fork of one of this one's threads would hold it open for
        // writing for a moment, in which it cannot be executed.
        let write =
            Command::new("sh").args(["-c", "printf %s \"$1\" > \"$0\""]).arg(&written).arg(script).status();
        assert!(write.unwrap().success());
        let mode = if what == "data" { 0o644 } else { 0o755 };
        std::fs::set_permissions(&written, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(written, file).unwrap();
    }

    async fn load(&self) -> Plugins {
        let prepare = |plugin: PluginBuilder| {
            plugin
                .cookie(COOKIE)
                .offer(Adder.serve())
                .stderr(Output::lines(|_| {}))
                .restart(Backoff::exponential())
        };
        Plugins::load(self.0.path(), prepare).await.unwrap()
    }
}

#[tokio::test]
async fn the_plugins_of_a_folder_are_started_and_the_bad_ones_told_with_their_reasons() {
    let folder = Folder(tempfile::tempdir().unwrap());
    for (name, what) in
        [("one", "good"), ("two.sh", "good"), ("two.py", "good"), ("bad", "exit"), ("notes", "data")]
    {
        folder.put(name, what);
    }
    let plugins = folder.load().await;
    let mut names: Vec<_> = plugins.names().collect();
    names.sort_unstable();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"one") && names.contains(&"two"), "{names:?}");
    let bad: Vec<_> = plugins.bad().map(|(file, error)| format!("{}: {error}", file.display())).collect();
    assert_eq!(bad.len(), 1);
    assert!(bad[0].contains("/bad: ") && bad[0].contains("no licence to run"), "{bad:?}");
    // By service, and by name and service.
    let clients = plugins.of::<PlugClient>();
    assert_eq!(clients.len(), 3);
    for (name, client) in clients {
        assert_eq!(client.add(1, 2).await, Ok(Some(3)), "{name}");
    }
    assert!(plugins.of::<ProbeClient>().is_empty());
    let one: PlugClient = plugins.get("one").unwrap();
    assert_eq!(one.pid().await.ok(), plugins.pid("one"));
    assert!(plugins.get::<PlugClient>("three").is_none());
    let pids: Vec<_> = ["one", "two"].map(|name| plugins.pid(name).unwrap()).into();
    plugins.shutdown(PATIENCE).await;
    assert!(!pids.into_iter().any(system::exists));
}

#[tokio::test]
async fn what_changes_in_the_folder_is_reloaded_and_a_bad_change_leaves_the_old_one() {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.put("one", "good");
    folder.put("two", "good");
    let mut plugins = folder.load().await;
    let one: PlugClient = plugins.get("one").unwrap();
    let before = one.pid().await.unwrap();
    assert!(plugins.refresh().await.unwrap().is_empty());

    // Longer than before, so that it differs however coarse the clock is.
    folder.put("one", "good and new");
    folder.put("three", "good");
    std::fs::remove_file(folder.0.path().join("two")).unwrap();
    let two = plugins.pid("two").unwrap();
    let changes: Vec<_> =
        plugins.refresh().await.unwrap().iter().map(|change| format!("{change:?}")).collect();
    assert_eq!(changes, ["Removed(\"two\")", "Reloaded(\"one\")", "Added(\"three\")"]);
    assert!(!system::exists(two));
    // The client follows.
    assert_ne!(one.pid().await.unwrap(), before);

    let second = one.pid().await.unwrap();
    folder.put("one", "exit now, as it is broken");
    let changes = plugins.refresh().await.unwrap();
    let [PluginChange::Failed(file, error)] = &changes[..] else { panic!("{changes:?}") };
    assert!(file.ends_with("one") && error.to_string().contains("no licence"), "{error}");
    assert_eq!(one.pid().await, Ok(second));
    // It is tried once, until it changes again.
    assert!(plugins.refresh().await.unwrap().is_empty());
    plugins.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn files_of_like_names_are_told_apart_whichever_comes_first() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let mut plugins = folder.load().await;
    for (file, name) in [("two.sh", "two"), ("two", "two (2)"), ("two.py", "two.py")] {
        folder.put(file, "good");
        let changes = plugins.refresh().await.unwrap();
        assert!(matches!(&changes[..], [PluginChange::Added(added)] if added == name), "{changes:?}");
    }
    assert_eq!(plugins.of::<PlugClient>().len(), 3);
    plugins.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_plugin_that_is_being_restarted_is_still_found() {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.put("one", "good");
    let prepare = |plugin: PluginBuilder| {
        let slow = Backoff::exponential().first(Duration::from_secs(2));
        plugin.cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {})).restart(slow)
    };
    let plugins = Plugins::load(folder.0.path(), prepare).await.unwrap();
    let one: PlugClient = plugins.get("one").unwrap();
    assert_eq!(one.exit(1).await, Err(CallError::Disconnected { sent: true }));
    eventually("it waits for the next start", PATIENCE, async || plugins.pid("one").is_none()).await;
    let one: PlugClient = plugins.get("one").unwrap();
    assert_eq!(one.add(1, 2).await, Ok(Some(3)));
    assert_eq!(plugins.of::<PlugClient>().len(), 1);
    plugins.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_plugin_that_has_ended_is_none_until_its_file_has_changed() {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.put("one", "good");
    let prepare =
        |plugin: PluginBuilder| plugin.cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}));
    let mut plugins = Plugins::load(folder.0.path(), prepare).await.unwrap();
    let one: PlugClient = plugins.get("one").unwrap();
    assert_eq!(one.exit(1).await, Err(CallError::Disconnected { sent: true }));
    eventually("it has ended", PATIENCE, async || plugins.names().next().is_none()).await;
    assert!(plugins.refresh().await.unwrap().is_empty());
    folder.put("one", "good and mended");
    let changes = plugins.refresh().await.unwrap();
    assert!(matches!(&changes[..], [PluginChange::Added(name)] if name == "one"), "{changes:?}");
    let one: PlugClient = plugins.get("one").unwrap();
    assert_eq!(one.add(1, 2).await, Ok(Some(3)));
    plugins.shutdown(PATIENCE).await;
}

/// Runs a host in a process of its own; all that it prints.
fn host(what: &str, make: impl FnOnce(&mut Command) -> &mut Command) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    Process::start(make(command.args([what, env!("CARGO_BIN_EXE_plugin")]))).rest()
}

#[test]
fn plugin_that_reads_from_the_terminal_of_its_host_is_not_stopped() {
    let terminal = Terminal::new();
    let lines = host("terminal", |command| terminal.control(command));
    assert_eq!(lines, ["Err(App(\"No such device or address (os error 6)\"))"]);
}

#[tokio::test]
async fn plugin_leads_a_session_whoever_makes_it() {
    for builder in [builder("good"), processes::with_session(builder("good"))] {
        let plugin: Plugin<PlugClient> = builder.start().await.unwrap();
        let [process, group, session] = plugin.client().session().await.unwrap();
        assert_eq!((group, session), (process, process));
        assert!(plugin.shutdown(PATIENCE).await.unwrap().success());
    }
}

#[test]
fn missing_null_device_is_not_taken_for_a_missing_program() {
    if !can_be_somebody_else() {
        return;
    }
    let lines = host("start", processes::without_dev);
    let words = lines.concat();
    assert!(words.contains("/dev/null") && words.contains("cannot be opened"), "{words}");
    assert!(!words.contains("could not be run"), "{words}");
}

#[tokio::test]
async fn file_that_is_open_for_writing_is_tried_again() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let file = folder.0.path().join("one");
    std::fs::copy("/bin/true", &file).unwrap();
    let written = std::fs::File::options().write(true).open(&file).unwrap();
    let mut plugins = folder.load().await;
    let busy =
        |plugins: &Plugins| plugins.bad().all(|(_, error)| error.to_string().contains("Text file busy"));
    assert!(plugins.bad().count() == 1 && busy(&plugins), "{:?}", plugins.bad().next());
    let changes = plugins.refresh().await.unwrap();
    assert!(matches!(&changes[..], [PluginChange::Failed(..)]) && busy(&plugins), "{changes:?}");
    drop(written);
    // The file is the same: it is no plugin, which only a start can tell.
    let changes = plugins.refresh().await.unwrap();
    let [PluginChange::Failed(_, error)] = &changes[..] else { panic!("{changes:?}") };
    assert!(matches!(**error, PluginError::Exited { .. }), "{error}");
    // From here on it is left alone.
    assert!(plugins.refresh().await.unwrap().is_empty());
}

#[tokio::test]
async fn events_of_a_folders_plugins_carry_their_names() {
    let folder = Folder(tempfile::tempdir().unwrap());
    for file in ["one", "two.py", "two.sh"] {
        folder.put(file, "good");
    }
    let log = Log::default();
    let told = log.clone();
    let prepare = move |plugin: PluginBuilder| {
        let told = told.clone();
        let plugin = plugin.cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}));
        plugin.on_event(move |event| told.push(event.plugin()))
    };
    let plugins = Plugins::load(folder.0.path(), prepare).await.unwrap();
    let names: Vec<_> = plugins.names().map(str::to_owned).collect();
    assert_eq!(names, ["one", "two", "two.sh"]);
    eventually("all have started", PATIENCE, async || log.all().len() == 3).await;
    let mut told = log.all();
    told.sort_unstable();
    assert_eq!(told, names);
    plugins.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn rule_decides_before_a_folders_program_runs() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let ran = folder.0.path().join("ran");
    folder.put("known", "good");
    folder.put("unknown", &format!("exit; touch {}", ran.display()));
    let prepare = |plugin: PluginBuilder| {
        let plugin = plugin.cookie(COOKIE).offer(Adder.serve()).stderr(Output::lines(|_| {}));
        plugin.verify(|path, mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|error| error.to_string())?;
            assert!(!path.ends_with("panics"), "a rule of a test");
            if text.ends_with(" good\n") { Ok(()) } else { Err("unknown contents".to_owned()) }
        })
    };
    let mut plugins = Plugins::load(folder.0.path(), prepare).await.unwrap();
    assert_eq!(plugins.names().collect::<Vec<_>>(), ["known"]);
    let bad: Vec<_> = plugins.bad().map(|(_, error)| error.to_string()).collect();
    assert!(bad.len() == 1 && bad[0].ends_with("unknown was not started: unknown contents"), "{bad:?}");
    // A changed file is asked about before it takes the place of the one that runs.
    let known = plugins.pid("known").unwrap();
    folder.put("known", "good, or so it says");
    folder.put("panics", "good");
    let changes = plugins.refresh().await.unwrap();
    assert_eq!(changes.len(), 2, "{changes:?}");
    for change in &changes {
        let PluginChange::Failed(_, error) = change else { panic!("{change:?}") };
        assert!(matches!(**error, PluginError::Rejected { .. }), "{error}");
    }
    assert_eq!(plugins.pid("known"), Some(known));
    assert!(!ran.exists());
    plugins.shutdown(PATIENCE).await;
    // By a name that is looked up in PATH it is not known which file the rule should see.
    let anywhere = Plugin::spawn(Command::new("true")).verify(|_, _| Ok(()));
    let error = anywhere.start::<PlugClient>().await.unwrap_err();
    assert!(error.to_string().contains("by a path"), "{error}");
}

#[tokio::test]
async fn program_that_changes_behind_the_rule_is_not_talked_to() {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.put("one", "good");
    let file = folder.0.path().join("one");
    let changing =
        Plugin::spawn(Command::new(&file)).cookie(COOKIE).offer(Adder.serve()).verify(|path, _| {
            // As somebody does who can write into the folder.
            let copy = path.with_extension("new");
            std::fs::copy(path, &copy)
                .and_then(|_| std::fs::rename(&copy, path))
                .map_err(|error| error.to_string())
        });
    let error = changing.start::<PlugClient>().await.unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
}
