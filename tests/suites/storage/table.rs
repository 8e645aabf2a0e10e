//! The README's table of what each plugin holds is what was measured.

use std::{fmt::Write as _, path::Path};

use crate::{
    backend::Kind,
    capability::{Outcome, ROWS, measure},
    world::World,
};

#[tokio::test]
async fn the_readme_says_what_each_plugin_holds() {
    let mut columns = Vec::new();
    for kind in Kind::ALL {
        if kind.require().is_ok() {
            columns.push((kind.name(), measure(&World::start(kind).await).await));
        }
    }
    let mut table = String::from("| |");
    for (name, _) in &columns {
        write!(table, " {name} |").unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(columns.len()));
    for (at, row) in ROWS.iter().enumerate() {
        write!(table, "\n| {row} |").unwrap();
        for (_, outcomes) in &columns {
            write!(table, " {} |", cell(outcomes[at])).unwrap();
        }
    }
    println!("{table}");
    if columns.len() < Kind::ALL.len() {
        return;
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&table),
        "the README's table should be\n\n{table}\n"
    );
}

fn cell(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Kept | Outcome::Taken => "yes",
        Outcome::About => "about",
        Outcome::Refused => "no",
        Outcome::Last => "the later",
        Outcome::Greatest => "the greater",
    }
}
