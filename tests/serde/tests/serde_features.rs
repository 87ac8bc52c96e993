//! Every feature of serde with every codec: the value arrives equal, or the sender refuses it and
//! says why.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use futures::StreamExt;
use panpipe::{CallError, Codec, StreamError, Streaming};
use panpipe_tests::process::Process;
use panpipe_tests::unique_name;
use panpipe_tests_serde::{CODECS, Cell, Echo, FeaturesClient, ItemsClient, Row, call_all, harmless};

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

/// Whether these are the words of a refusal that names a type and a field of it.
fn names_the_field(why: &str) -> bool {
    why.contains("`quota` of `Entry`")
}

#[tokio::test]
async fn the_type_of_a_streams_items_is_refused_by_their_sender_whatever_the_first_ones_are() {
    for codec in CODECS {
        let name = unique_name("items");
        let server =
            Process::start(Command::new(env!("CARGO_BIN_EXE_serde_features")).arg(&name)).serving(&name);
        server.wait_for("ready");
        let items = ItemsClient::connect(&name).codec(codec).await.unwrap();
        let is_carried = codec == Codec::Json;
        // A stream in the arguments, one in a result, a sender in the arguments.
        let (come, why) = items.collect(Streaming::new(futures::stream::iter(harmless()))).await.unwrap();
        let given: Vec<_> = items.give().await.unwrap().collect().await;
        let (sender, mut sent) = panpipe::channel(4);
        let unsent = items.send(sender).await.unwrap();
        if is_carried {
            assert_eq!((come, why, unsent), (vec![(Some(1), 2), (Some(3), 4)], None, None));
            assert_eq!(given, harmless().map(Ok));
            assert!(matches!(sent.next().await, Some(Ok(_))));
        } else {
            assert!(come.is_empty() && why.as_deref().is_some_and(names_the_field), "{codec:?}: {why:?}");
            assert!(unsent.as_deref().is_some_and(names_the_field), "{codec:?}: {unsent:?}");
            assert!(
                matches!(&given[..], [Err(StreamError::Malformed(why))] if names_the_field(why)),
                "{codec:?}: {given:?}"
            );
            assert_eq!(sent.next().await, None);
        }
        let tagged: Vec<_> = items.tagged().await.unwrap().collect().await;
        match codec {
            Codec::Json | Codec::MessagePack => assert!(matches!(&tagged[..], [Ok(_)]), "{tagged:?}"),
            _ => assert!(
                matches!(&tagged[..], [Err(StreamError::Malformed(why))] if why.contains("Tagged")),
                "{codec:?}: {tagged:?}"
            ),
        }
    }
}
