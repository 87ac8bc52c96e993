//! Every feature of serde with every codec: the value arrives equal, or the sender refuses it and
//! says why.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use panpipe::{CallError, Codec};
use panpipe_tests::process::Process;
use panpipe_tests::unique_name;
use panpipe_tests_serde::{CODECS, Cell, Echo, FeaturesClient, Row, call_all};

/// Which cells are not as the table has them.
fn wrong_cells(codec: Codec, rows: &[Row]) -> Vec<String> {
    let column = CODECS.iter().position(|known| *known == codec).unwrap();
    let mut wrong = Vec::new();
    for row in rows {
        for (index, outcome) in row.outcomes.iter().enumerate() {
            let is_right = match (row.cells[column], outcome) {
                (Cell::Same, outcome) => *outcome == Ok(true),
                (Cell::Refused, Err(CallError::Malformed(why))) => {
                    why.contains(row.mention)
                        && why.contains(&format!("the arguments of Features.{}", row.name))
                }
                (Cell::Refused, _) => false,
            };
            if !is_right {
                wrong.push(format!("{codec:?} {} value {index}: {outcome:?}", row.name));
            }
        }
    }
    wrong
}

/// How many values should have arrived.
fn accepted(codec: Codec, rows: &[Row]) -> usize {
    let column = CODECS.iter().position(|known| *known == codec).unwrap();
    rows.iter().filter(|row| row.cells[column] == Cell::Same).map(|row| row.outcomes.len()).sum()
}

#[tokio::test]
async fn every_value_arrives_equal_or_is_refused_by_the_sender() {
    let mut wrong = Vec::new();
    for codec in CODECS {
        let name = unique_name("features");
        let server =
            Process::start(Command::new(env!("CARGO_BIN_EXE_serde_features")).arg(&name)).serving(&name);
        server.wait_for("ready");
        let client = FeaturesClient::connect(&name).codec(codec).await.unwrap();
        let rows = call_all(&client).await;
        wrong.extend(wrong_cells(codec, &rows));
        // The refused ones never left this process.
        assert_eq!(client.arrived().await, Ok(accepted(codec, &rows) as u64), "{codec:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_local_client_that_encodes_refuses_what_a_connection_refuses() {
    let mut wrong = Vec::new();
    for codec in CODECS {
        let client = FeaturesClient::local_encoded(Echo::default(), codec);
        wrong.extend(wrong_cells(codec, &call_all(&client).await));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_documented_table_is_the_tested_one() {
    let documented = include_str!("../../../crates/panpipe/docs/serde-features.md");
    let client = FeaturesClient::local(Echo::default());
    for row in call_all(&client).await {
        let cells = row.cells.map(|cell| match cell {
            Cell::Same => "yes",
            Cell::Refused => "refused",
        });
        let line = format!("| {} | {} |", row.title, cells.join(" | "));
        assert!(documented.contains(&line), "the table has no line {line}");
        // Nothing is encoded here, so that nothing is refused.
        assert!(row.outcomes.iter().all(|outcome| matches!(outcome, Ok(true))) || row.name == "not_finite");
    }
}
