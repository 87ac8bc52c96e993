//! A server that acts as its callers: what it then may, what it is meanwhile and
//! afterwards, and where it refuses.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use panpipe_tests::keeper::{Keeper, KeeperClient, KeeperImpl};
use panpipe_tests::process::Process;
use panpipe_tests::sys::leave_open;
use panpipe_tests::sys::terminal::Terminal;
use panpipe_tests::sys::users::{
    Ids, UserNamespace, leave_capabilities, run_as, run_as_with_some_capabilities,
};
use panpipe_tests::users::{Open, can_be_somebody_else};
use panpipe_tests::{PATIENCE, eventually, times, unique_name};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const ROOT: Ids<'static> = Ids { uid: 0, gid: 0, groups: &[] };
const ANNA: Ids<'static> = Ids { uid: 50_001, gid: 50_101, groups: &[50_201] };
const BERT: Ids<'static> = Ids { uid: 50_002, gid: 50_102, groups: &[50_202, 50_203] };
/// The most threads that act as one user at once.
const MOST: usize = panpipe_transport::limits::IMPERSONATIONS;

/// A folder that everybody can enter, with the program and what it serves.
struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let house = House { folder };
        // By another process: a file that this one has open for writing would be inherited by
        // what other tests start meanwhile, and could not be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_keeper")).arg(house.path("keeper")).status();
        assert!(copied.unwrap().success());
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of somebody's.
    fn file(&self, name: &str, (uid, gid): (u32, u32), mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A folder of somebody's.
    fn room(&self, name: &str, owner: Ids<'static>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner.uid), Some(owner.gid)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn server_command(&self, owner: Ids<'static>) -> (Command, String) {
        let pipe = self.room("served", owner, 0o755).join("pipe").to_str().unwrap().to_owned();
        let mut command = Command::new(self.path("keeper"));
        command.args(["serve", &pipe]);
        (command, pipe)
    }

    /// A server, by a command that is made what it takes.
    fn serve_by(&self, owner: Ids<'static>, make: impl FnOnce(&mut Command) -> &mut Command) -> Server<'_> {
        let (mut command, pipe) = self.server_command(owner);
        let process = Process::start(make(&mut command));
        let standing = process.line();
        process.wait_for("ready");
        Server { house: self, process, pipe, standing }
    }

    /// A server of this user's.
    fn serve(&self, owner: Ids<'static>) -> Server<'_> {
        self.serve_by(owner, |command| run_as(command, owner))
    }
}

struct Server<'a> {
    house: &'a House,
    process: Process,
    pipe: String,
    /// How its threads stand.
    standing: String,
}

impl Server<'_> {
    /// A client of this user's, in a process of its own.
    fn client(&self, user: Ids<'static>, what: &[&str]) -> Process {
        let mut command = Command::new(self.house.path("keeper"));
        command.args(["call", &self.pipe]).args(what);
        Process::start(run_as(&mut command, user))
    }

    /// All that such a client prints.
    fn lines(&self, user: Ids<'static>, what: &[&str]) -> Vec<String> {
        let mut client = self.client(user, what);
        let lines = client.rest();
        assert!(client.wait().success(), "{lines:?}");
        lines
    }

    /// The one line that it prints.
    fn says(&self, user: Ids<'static>, what: &[&str]) -> String {
        let lines = self.lines(user, what);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.concat()
    }

    /// All threads are what they were at the start.
    fn is_itself(&self) {
        let threads = BTreeSet::from_iter(self.lines(ROOT, &["threads-now"]));
        assert_eq!(threads, BTreeSet::from([self.standing.clone()]));
    }

    /// How many of its threads act as this user.
    fn threads_as(&self, user: Ids<'static>) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let acting = format!("Uid:\t0\t{0}\t0\t{0}\n", user.uid);
        threads
            .filter(|thread| {
                let status = thread.as_ref().unwrap().path().join("status");
                fs::read_to_string(status).is_ok_and(|status| status.contains(&acting))
            })
            .count()
    }
}

/// How a thread stands that acts as somebody, of a server that is `server` itself.
fn acting_as(server: (u32, u32), user: Ids<'static>) -> String {
    let ids = |own, acting| format!("[{own}, {acting}, {own}, {acting}]");
    let (uids, gids) = (ids(server.0, user.uid), ids(server.1, user.gid));
    format!("uids {uids} gids {gids} groups {:?} capabilities 0", user.groups)
}

const DENIED: &str = "Err(App(\"Permission denied (os error 13)\"))";

#[test]
fn a_root_server_reads_and_makes_files_as_its_caller_would() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let own = house.file("own", (ANNA.uid, ANNA.gid), 0o600);
    let by_group = house.file("group", (0, ANNA.gid), 0o640);
    let by_other_group = house.file("other-group", (0, ANNA.groups[0]), 0o640);
    let roots = house.file("roots", (0, 0), 0o600);
    let server = house.serve(ROOT);
    let read = |user, path: &str| server.says(user, &["read", path]);
    assert_eq!(read(ANNA, &own), "Ok(\"own\")");
    assert_eq!(read(ANNA, &by_group), "Ok(\"group\")");
    assert_eq!(read(ANNA, &by_other_group), "Ok(\"other-group\")");
    assert_eq!(read(ANNA, &roots), DENIED);
    for path in [&own, &by_group, &by_other_group, &roots] {
        assert_eq!(read(BERT, path), DENIED, "{path}");
    }
    // Which capabilities its caller has the system does not tell: it is given none.
    assert_eq!(read(ROOT, &roots), "Ok(\"roots\")");
    assert_eq!(read(ROOT, &own), DENIED);

    let room = house.room("room", ROOT, 0o1777);
    for user in [ANNA, BERT] {
        let file = room.join(user.uid.to_string());
        assert_eq!(server.says(user, &["make", file.to_str().unwrap()]), "Ok(())");
        let made = fs::metadata(&file).unwrap();
        assert_eq!((made.uid(), made.gid()), (user.uid, user.gid));
    }
    let closed = house.room("closed", ROOT, 0o755).join("file");
    assert_eq!(server.says(ANNA, &["make", closed.to_str().unwrap()]), DENIED);
    assert!(!closed.exists());
    server.is_itself();
}

#[test]
fn one_thread_alone_acts_as_the_caller_and_none_afterwards() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let server = house.serve(ROOT);
    for user in [ANNA, BERT, ANNA] {
        let threads = server.lines(user, &["threads"]);
        assert_eq!(threads[0], acting_as((0, 0), user));
        // The runtime's three at the least.
        assert!(threads.len() > 3, "{threads:?}");
        for other in &threads[1..] {
            assert_eq!(*other, server.standing);
        }
        server.is_itself();
    }
}

#[test]
fn a_panic_is_the_callers_error_and_leaves_the_server_itself() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let server = house.serve(ROOT);
    for _ in 0..times(3, 100) {
        assert_eq!(server.says(ANNA, &["panic"]), "Err(Panicked)");
    }
    server.is_itself();
    assert_eq!(server.lines(ANNA, &["threads"])[0], acting_as((0, 0), ANNA));
}

#[test]
fn many_at_once_of_two_users_do_not_mix() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let server = house.serve(ROOT);
    let together = |users: &[Ids<'static>], each: usize, meeting: usize| {
        let (each, meeting) = (each.to_string(), meeting.to_string());
        let clients: Vec<_> =
            users.iter().map(|&user| (user, server.client(user, &["meet", &each, &meeting]))).collect();
        for (user, client) in clients {
            assert_eq!(client.rest(), [each.clone(), acting_as((0, 0), user)]);
        }
    };
    // All act at the same time: each waits inside for all the others.
    together(&[ANNA, BERT], MOST / 2, MOST);
    together(&[ANNA, BERT, ANNA, BERT], times(200, 5000), 0);
    server.is_itself();
}

#[tokio::test]
async fn a_user_whose_calls_block_takes_so_many_threads_and_holds_up_nobody_else() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let fifo = house.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    chown(&fifo, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    let server = house.serve(ROOT);
    let path = fifo.to_str().unwrap();
    let acting = async |what: &str, count| {
        eventually(what, PATIENCE, async || server.threads_as(ANNA) == count).await;
    };
    // Nobody writes, so each call blocks its thread; and the caller dies.
    let half = MOST / 2;
    let mut blocked = server.client(ANNA, &["read-many", path, &half.to_string()]);
    acting("each has a thread", half).await;
    blocked.kill();
    let count = (half + 3).to_string();
    let waiting = server.client(ANNA, &["read-many", path, &count]);
    acting("all threads that there are are taken", MOST).await;
    assert_eq!(server.lines(BERT, &["threads"])[0], acting_as((0, 0), BERT));
    assert_eq!(server.threads_as(ANNA), MOST);
    // Where somebody writes they end, and those have their turn that waited.
    let answers = std::thread::spawn(move || waiting.rest());
    eventually("they are answered", PATIENCE, async || {
        drop(fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap());
        answers.is_finished()
    })
    .await;
    assert_eq!(answers.join().unwrap(), [count, "Ok(\"\")".to_owned()]);
    acting("none is left", 0).await;
    server.is_itself();
}

#[test]
fn a_server_of_an_ordinary_user_acts_as_that_user_and_refuses_others_in_words() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let own = house.file("own", (ANNA.uid, ANNA.gid), 0o600);
    let server = house.serve(ANNA);
    let read = |user| server.says(user, &["read", &own]);
    assert_eq!(read(ANNA), "Ok(\"own\")");
    for user in [ROOT, BERT] {
        let words = read(user);
        let refusal = format!(
            "this process, of user {}, may not act as user {} with group {}",
            ANNA.uid, user.uid, user.gid
        );
        assert!(words.contains(&refusal) && words.contains("CAP_SETUID and CAP_SETGID"), "{words}");
    }
    // The same user who is in another group is not the same.
    let words = read(Ids { groups: &[50_202], ..ANNA });
    assert!(words.contains("may not act as user 50001 with group 50101 and groups [50202]"), "{words}");
    server.is_itself();
}

#[test]
fn a_servers_capabilities_do_not_help_its_caller() {
    if !can_be_somebody_else() {
        return;
    }
    for with_capabilities in [true, false] {
        let house = House::new();
        let (own, roots) =
            (house.file("own", (ANNA.uid, ANNA.gid), 0o600), house.file("roots", (0, 0), 0o600));
        let (server, ids) = if with_capabilities {
            // Not root, and with the capabilities to be anybody and to read anything.
            let server = house.serve_by(BERT, |command| run_as_with_some_capabilities(command, BERT));
            (server, (BERT.uid, BERT.gid))
        } else {
            // Root, and the kernel leaves it its capabilities when it changes its user.
            let server = house.serve_by(ROOT, |command| leave_capabilities(run_as(command, ROOT)));
            (server, (0, 0))
        };
        assert!(!server.standing.ends_with("capabilities 0"), "{}", server.standing);
        let threads = server.lines(ANNA, &["threads"]);
        assert_eq!(threads[0], acting_as(ids, ANNA));
        assert!(threads[1..].iter().all(|other| *other == server.standing), "{threads:?}");
        assert_eq!(server.says(ANNA, &["read", &own]), "Ok(\"own\")");
        assert_eq!(server.says(ANNA, &["read", &roots]), DENIED);
        server.is_itself();
    }
}

#[test]
fn a_thread_that_cannot_be_made_what_it_was_ends_the_process_in_words() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let (mut command, pipe) = house.server_command(ROOT);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = run_as(&mut command, ROOT).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(stdout.any(|line| line.unwrap() == "ready"));
    let mut client = Command::new(house.path("keeper"));
    let client = Process::start(run_as(client.args(["call", &pipe, "stay"]), ANNA));
    assert_eq!(client.rest(), ["Err(Disconnected { sent: true })"]);
    // A server that lives ends with its standard input, and not so.
    drop(process.stdin.take());
    let mut words = String::new();
    process.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{words}");
    let why =
        "a thread that ran as user 50001 with group 50101 and groups [50201] cannot be made what it was";
    assert!(words.contains(why), "{words}");
}

#[tokio::test]
async fn nothing_is_done_as_a_caller_who_has_gone_or_is_not_known() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let server = house.serve(ROOT);
    let words = server.says(ANNA, &["elsewhere"]);
    assert!(words.contains("there is no caller to act as"), "{words}");
    assert_eq!(server.says(ANNA, &["linger"]), "Ok(())");
    let stream = tokio::net::UnixStream::connect(&server.pipe).await.unwrap();
    let keeper = KeeperClient::over(stream);
    eventually("it has tried", PATIENCE, async || keeper.lingered().await.unwrap().is_some()).await;
    let words = keeper.lingered().await.unwrap().unwrap().unwrap_err();
    assert!(words.contains("the caller has gone"), "{words}");
    server.is_itself();
    // Over a stream of which the system tells nothing.
    let (one, other) = tokio::io::duplex(1 << 16);
    tokio::spawn(panpipe::serve_stream(other, KeeperImpl::default().serve()));
    let read = KeeperClient::over(one).read("/dev/null".into()).await;
    assert!(read.unwrap_err().to_string().contains("there is no caller to act as"));
}

#[tokio::test]
async fn in_one_process_the_caller_is_the_process_itself() {
    let keeper = KeeperClient::local(KeeperImpl::default());
    let threads = keeper.threads().await.unwrap();
    let own = panpipe_tests::system::Standing::of_this_thread();
    assert_eq!(threads[0], panpipe_tests::system::Standing { capabilities: 0, ..own });
}

/// How a client is told that nothing was opened, whatever the words.
#[track_caller]
fn is_refused(path: &str, answer: &str) {
    let words = ["procfs", "a device", "a FIFO", "the path is relative"];
    let is_refusal = answer.starts_with("Err(App(") && words.iter().any(|word| answer.contains(word));
    // Behind another process's entry in procfs there may be nothing that the caller may see.
    let is_denied = path.starts_with("/proc/") && answer.contains("ermission denied");
    assert!(is_refusal || is_denied, "{path}: {answer}");
}

#[test]
fn paths_of_a_caller_lead_to_nothing_of_the_servers() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let private = house.room("private", ROOT, 0o700);
    fs::write(private.join("secret"), "the secret of root").unwrap();
    let own = house.file("own", (ANNA.uid, ANNA.gid), 0o600);
    // The server inherits a private file and a private directory, as if it had opened them.
    let opened = (fs::File::open(private.join("secret")).unwrap(), fs::File::open(&private).unwrap());
    let [file, directory] = [opened.0.as_raw_fd(), opened.1.as_raw_fd()];
    let server = house.serve_by(ROOT, |command| leave_open(run_as(command, ROOT), &[file, directory]));
    let pid = server.process.id();

    let link = |name: &str, target: &str| {
        let path = house.path(name);
        symlink(target, &path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let paths = [
        "/proc/self/maps".to_owned(),
        "/proc/self/environ".to_owned(),
        "/proc/self/cmdline".to_owned(),
        "/proc/thread-self/status".to_owned(),
        format!("/proc/{pid}/maps"),
        format!("/proc/{pid}/cmdline"),
        format!("/proc/{pid}/fd/{file}"),
        format!("/proc/self/fd/{file}"),
        format!("/proc/self/fd/{directory}/secret"),
        format!("/proc/self/root{}/secret", private.display()),
        "/proc/self/cwd/Cargo.toml".to_owned(),
        "/proc/self/exe".to_owned(),
        format!("/dev/fd/{file}"),
        format!("/dev/fd/{directory}/secret"),
        "/dev/stdin".to_owned(),
        "/dev/stdout".to_owned(),
        "/dev/null".to_owned(),
        "/dev/tty".to_owned(),
        link("to-maps", "/proc/self/maps"),
        link("to-fd", &format!("/proc/self/fd/{file}")),
        format!("{}/secret", link("to-directory", &format!("/dev/fd/{directory}"))),
        "Cargo.toml".to_owned(),
    ];
    let question: Vec<_> = ["open"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    for user in [ANNA, ROOT] {
        let answers = server.lines(user, &question);
        assert_eq!(answers.len(), paths.len());
        for (path, answer) in paths.iter().zip(&answers) {
            is_refused(path, answer);
        }
    }
    // The caller's own files open, by links of the file system too.
    let by_link = link("to-own", &own);
    assert_eq!(server.lines(ANNA, &["open", &own, &by_link]), ["Ok(\"own\")", "Ok(\"own\")"]);
    assert!(server.says(BERT, &["open", &by_link]).contains("Permission denied"));
    let room = house.room("room", ANNA, 0o700);
    let made = room.join("made");
    for user in [BERT, ANNA] {
        let may = server.says(user, &["write", made.to_str().unwrap()]) == "Ok(())";
        assert_eq!(may, user.uid == ANNA.uid);
    }
    assert_eq!(fs::metadata(&made).unwrap().uid(), ANNA.uid);
    // Without the opener the kernel hands out the server's memory map: the closure of
    // `impersonate` runs in the server's process.
    assert!(server.says(ANNA, &["read", "/proc/self/maps"]).starts_with("Ok("));
    server.is_itself();
}

#[test]
fn a_caller_gets_nothing_that_is_typed_at_the_servers_terminal() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let mut terminal = Terminal::new();
    let server = house.serve_by(ROOT, |command| terminal.control(run_as(command, ROOT)));
    terminal.type_in("a password\n");
    let answer = server.says(ANNA, &["open", "/dev/tty"]);
    assert!(answer.contains("a device") && !answer.contains("password"), "{answer}");
    server.is_itself();
}

#[test]
fn the_file_server_example_of_root_hands_out_nothing_of_its_own() {
    if !can_be_somebody_else() {
        return;
    }
    let open = Open::with(env!("CARGO_BIN_EXE_file_server"));
    let name = unique_name("file_server");
    let mut terminal = Terminal::new();
    let mut command = Command::new(&open.program);
    let mut server = Process::start(terminal.control(command.args(["serve", &name])));
    server.wait_for(&format!("serving {name}, end with ctrl-c"));
    terminal.type_in("a password\n");
    let reads = |path: &str| {
        let mut command = Command::new(&open.program);
        command.args(["read", "0", &name, path]);
        Process::start(run_as(&mut command, ANNA)).rest().concat()
    };
    for path in
        ["/etc/shadow", "/proc/self/maps", "/proc/self/environ", "/dev/tty", "/dev/fd/0", "/dev/stdin"]
    {
        let answer = reads(path);
        assert!(answer.contains("may not read"), "{path}: {answer}");
    }
    let own = open.path("own");
    fs::write(&own, "its own text").unwrap();
    chown(&own, Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    fs::set_permissions(&own, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(reads(own.to_str().unwrap()), "its own text");
    server.signal(rustix::process::Signal::INT);
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_call_about_the_terminal_does_not_stop_a_server_in_the_background() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let terminal = Terminal::new();
    let (keeper, pipe) = house.server_command(ROOT);
    // A shell with job control gives each background job a process group of its own.
    let mut shell = Command::new("sh");
    shell.args(["-c", "set -m; exec 3<&0; \"$0\" \"$@\" <&3 & wait"]);
    shell.arg(keeper.get_program()).args(keeper.get_args());
    let process = Process::start(terminal.control(&mut shell));
    let standing = process.line();
    process.wait_for("ready");
    let server = Server { house: &house, process, pipe, standing };
    let client = server.client(ANNA, &["open", "/dev/tty"]);
    // A stopped server answers nobody.
    let answer = std::thread::spawn(move || client.rest());
    eventually("the server answers", PATIENCE, async || answer.is_finished()).await;
    is_refused("/dev/tty", &answer.join().unwrap().concat());
    server.is_itself();
}

#[test]
fn callers_with_ids_that_the_namespace_lacks_are_refused() {
    if !can_be_somebody_else() {
        return;
    }
    const UNMAPPED: u32 = 70_000;
    let Some(namespace) = UserNamespace::with(&[(0, 65_000)], &[(0, 65_000)]) else { return };
    let house = House::new();
    let own = house.file("own", (ANNA.uid, ANNA.gid), 0o600);
    // A group of the server's. The caller has another one, which has the same number inside.
    let servers = house.file("servers", (0, UNMAPPED), 0o640);
    let server =
        house.serve_by(ROOT, |command| namespace.enter(run_as(command, Ids { groups: &[UNMAPPED], ..ROOT })));
    const OTHER: Ids<'static> = Ids { groups: &[UNMAPPED + 1], ..ANNA };
    for (user, words) in [
        (OTHER, "group 65534"),
        (Ids { gid: UNMAPPED, groups: &[], ..ANNA }, "group 65534"),
        (Ids { uid: UNMAPPED, ..ANNA }, "user 65534"),
    ] {
        for path in [&servers, &own] {
            let answer = server.says(user, &["read", path]);
            assert!(answer.contains("nothing was done as") && answer.contains(words), "{answer}");
        }
    }
    server.is_itself();
    drop(server);

    // A server without groups of its own acts as callers whose ids the namespace has.
    let house = House::new();
    let own = house.file("own", (ANNA.uid, ANNA.gid), 0o600);
    let by_group = house.file("group", (0, ANNA.groups[0]), 0o640);
    let server = house.serve_by(ROOT, |command| namespace.enter(run_as(command, ROOT)));
    for path in [&own, &by_group] {
        assert!(server.says(ANNA, &["read", path]).starts_with("Ok("), "{path}");
        assert_eq!(server.says(BERT, &["read", path]), DENIED);
        assert!(server.says(OTHER, &["read", path]).contains("group 65534"));
    }
    server.is_itself();
}

#[test]
fn a_server_knows_groups_name_and_program_of_another_users_client() {
    if !can_be_somebody_else() {
        return;
    }
    let house = House::new();
    let program = house.path("keeper");
    let server = house.serve(ROOT);
    assert_eq!(
        server.says(ANNA, &["about"]),
        format!(
            "Ok(About {{ ids: (Some(50001), Some(50101)), groups: Ok([50201]), \
             name: Err(\"user 50001 has no name: this machine knows no such user\"), \
             executable: Ok({program:?}), running: Ok(true) }})"
        )
    );
    // The system's own users have names.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let name = users.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)? == "1").then_some(name)
    });
    let words = server.says(Ids { uid: 1, ..ANNA }, &["about"]);
    assert!(words.contains(&format!("name: Ok({:?})", name.unwrap())), "{words}");
    // A user sees another's process, and not its program.
    let house = House::new();
    let words = house.serve(ANNA).says(BERT, &["about"]);
    assert!(words.contains("groups: Ok([50202, 50203])") && words.contains("running: Ok(true)"), "{words}");
    assert!(words.contains("cannot be seen by this user: Permission denied"), "{words}");
    // Also where /proc hides the processes of other users altogether.
    let house = House::new();
    let words = house.serve_by(ANNA, |command| hide_others_from(command, ANNA)).says(BERT, &["about"]);
    assert!(words.contains("groups: Ok([50202, 50203])") && words.contains("running: Ok(true)"), "{words}");
    assert!(words.contains("cannot be seen by this user: Permission denied"), "{words}");
}

/// Has a program run as a user on a hardened system, where `/proc` hides other users' processes.
fn hide_others_from<'c>(command: &'c mut Command, user: Ids<'static>) -> &'c mut Command {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
    let script = format!(
        "mount -t proc -o hidepid=invisible proc /proc && exec setpriv --reuid {} --regid {} --groups {} \"$@\"",
        user.uid,
        user.gid,
        groups.join(",")
    );
    *command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(program).args(args)
}
