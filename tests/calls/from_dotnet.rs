//! The page for who comes from .NET names tests: they are there.

use std::fs;
use std::path::Path;

/// The code of all tests in a folder.
fn code_of(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = include_str!("../../crates/panpipe/docs/from-dotnet.md");
    let code = code_of("calls") + &code_of("proofs");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 15, "the page has its table");
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test shows {row}");
        for name in names {
            assert!(code.contains(&format!("fn {name}()")), "there is no test {name}");
        }
    }
}
