//! What it costs to build the same small program with panpipe, tarpc and tonic: time,
//! crates, size; and what each method more costs. Writes `benches/results/sizes.md`.
//!
//! `cargo run --release -p panpipe-benches --bin cost`, which takes some minutes.
//!
//! The program serves, or is a client that calls every method, by its arguments. It is
//! built in release mode as that is, but stripped; `tonic` from a service written in
//! its build script, so that no compiler of `.proto` files is built or needed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use panpipe_benches::results::folder;

struct Program {
    name: &'static str,
    main: &'static str,
    build: &'static str,
    dependencies: String,
}

/// Numbers of methods. The first is what a clean build is timed with.
const METHODS: [usize; 3] = [1, 10, 100];

const TOKIO: &str = "tokio = { version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\"] }\n";

fn programs() -> [Program; 4] {
    let facade = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/panpipe");
    let facade = facade.canonicalize().expect("it is there");
    let panpipe = |more: &str| {
        let serde = "serde = { version = \"1\", features = [\"derive\"] }";
        format!("panpipe = {{ path = {facade:?}{more} }}\n{serde}\n{TOKIO}")
    };
    let main = include_str!("programs/panpipe.rs.txt");
    [
        Program { name: "panpipe", main, build: "", dependencies: panpipe("") },
        Program {
            name: "panpipe without tarpc",
            main,
            build: "",
            dependencies: panpipe(", default-features = false, features = [\"bincode\"]"),
        },
        Program {
            name: "tarpc",
            main: include_str!("programs/tarpc.rs.txt"),
            build: "",
            dependencies: format!(
                "tarpc = {{ version = \"0.38\", features = [\"serde-transport-bincode\", \"tokio1\", \"unix\"] }}\n\
                 futures = \"0.3\"\nserde = {{ version = \"1\", features = [\"derive\"] }}\n{TOKIO}"
            ),
        },
        Program {
            name: "tonic",
            main: include_str!("programs/tonic.rs.txt"),
            build: include_str!("programs/tonic_build.rs.txt"),
            dependencies: format!(
                "tonic = \"0.14\"\ntonic-prost = \"0.14\"\nprost = \"0.14\"\n\
                 tokio-stream = {{ version = \"0.1\", features = [\"net\"] }}\n{TOKIO}\
                 [build-dependencies]\ntonic-build = {{ version = \"0.14\", default-features = false }}\n"
            ),
        },
    ]
}

/// What one program costs.
struct Cost {
    clean: f64,
    crates: usize,
    /// For each number of methods: seconds to build the program alone, and its size.
    methods: Vec<(f64, u64)>,
}

fn main() {
    let scratch = tempfile::tempdir().expect("a folder can be made");
    let mut text = String::from(concat!(
        "# What it costs to build\n\n",
        "Made by `cargo run --release -p panpipe-benches --bin cost`: the same small program, a service and\n",
        "its client, built in release mode and stripped, the quicker of two builds.\n",
        "*Again* is the program alone, with what it depends on built already.\n\n",
    ));
    let said = Command::new("rustc").arg("--version").output();
    let compiler = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(text, "{processors} CPUs, {}\n", compiler.unwrap_or_default());
    let _ = writeln!(
        text,
        "| | clean build, s | crates | size, KiB | again, s, with 1 method | 10 | 100 | size, KiB, 10 | 100 | KiB a method |"
    );
    let _ = writeln!(text, "|---|{}", "---:|".repeat(9));
    for program in programs() {
        let cost = cost(&program, scratch.path());
        let _ = write!(
            text,
            "| {} | {:.1} | {} | {} |",
            program.name,
            cost.clean,
            cost.crates,
            cost.methods[0].1 >> 10
        );
        cost.methods.iter().for_each(|(seconds, _)| {
            let _ = write!(text, " {seconds:.1} |");
        });
        cost.methods[1..].iter().for_each(|(_, size)| {
            let _ = write!(text, " {} |", size >> 10);
        });
        let [(_, few), .., (_, many)] = cost.methods[..] else { unreachable!("there are several numbers") };
        let _ = writeln!(
            text,
            " {:.1} |",
            (many as f64 - few as f64) / 1024.0 / (METHODS[2] - METHODS[0]) as f64
        );
        fs::create_dir_all(folder())
            .and_then(|()| fs::write(folder().join("sizes.md"), &text))
            .expect("it can be written");
    }
    println!("{text}");
}

fn cost(program: &Program, scratch: &Path) -> Cost {
    let folder = scratch.join(program.name.replace(' ', "-"));
    fs::create_dir_all(folder.join("src")).expect("a folder can be made");
    let manifest = format!(
        "[package]\nname = \"program\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.release]\nstrip = true\n\n[dependencies]\n{}",
        program.dependencies
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("the folder is there");
    write(program, &folder, METHODS[0]);
    cargo(&folder, &["fetch"]);
    // The quicker of two: whatever else the machine does only adds.
    let mut clean = f64::INFINITY;
    for _ in 0..2 {
        let _ = fs::remove_dir_all(folder.join("target"));
        clean = clean.min(timed(&folder));
    }
    let tree = cargo(&folder, &["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let crates =
        tree.lines().filter(|line| !line.starts_with("program ")).map(|line| line.trim_end_matches(" (*)"));
    let crates = crates.collect::<BTreeSet<_>>().len();
    let methods = METHODS
        .into_iter()
        .map(|methods| {
            write(program, &folder, methods);
            let seconds = timed(&folder);
            let size = fs::metadata(folder.join("target/release/program")).expect("it is built").len();
            (seconds, size)
        })
        .collect();
    fs::remove_dir_all(&folder).expect("it is there");
    Cost { clean, crates, methods }
}

fn write(program: &Program, folder: &Path, methods: usize) {
    fs::write(folder.join("src/main.rs"), repeat(program.main, methods)).expect("the folder is there");
    if !program.build.is_empty() {
        fs::write(folder.join("build.rs"), repeat(program.build, methods)).expect("the folder is there");
    }
}

/// Lines behind `//*` stand there for each method, with its number.
fn repeat(text: &str, methods: usize) -> String {
    let mut repeated = String::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix("//* ") {
            Some(line) => (1..=methods).for_each(|method| {
                let _ = writeln!(repeated, "{}", line.replace("{n}", &method.to_string()));
            }),
            None => {
                let _ = writeln!(repeated, "{line}");
            }
        }
    }
    repeated
}

fn timed(folder: &Path) -> f64 {
    let start = Instant::now();
    cargo(folder, &["build", "--release", "--offline"]);
    start.elapsed().as_secs_f64()
}

fn cargo(folder: &Path, args: &[&str]) -> String {
    let program: PathBuf = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stderr(Stdio::inherit());
    // It is built there and nowhere else.
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?} in {}: {}", folder.display(), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
