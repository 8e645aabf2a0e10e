//! The state, in the process and in etcd: the same is demanded of both.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what can't go on fails its test"
)]

#[path = "state/conformance.rs"]
mod conformance;

#[path = "state/embedded.rs"]
mod embedded;

#[path = "state/etcd.rs"]
mod etcd;

use std::time::Duration;

use witgate_state::{Change, State, Transaction};

/// A busy machine elects late.
const SOON: Duration = Duration::from_secs(60);

fn put(key: &str, value: &str) -> Change {
    Change::Put {
        key: key.into(),
        value: value.into(),
        lifetime: None,
    }
}

fn changes(changes: impl IntoIterator<Item = Change>) -> Transaction {
    Transaction {
        expect: Vec::new(),
        changes: changes.into_iter().collect(),
    }
}

/// Demands everything of an engine.
async fn demand_all(state: &dyn State) {
    let space = |name: &str| state.space(name).unwrap();
    conformance::many_ranges_are_scanned_one_after_the_other_within_one_limit(space("a")).await;
    conformance::spaces_do_not_see_each_other(space("b"), space("b/other")).await;
    conformance::a_scan_is_ordered_and_stops_at_its_bounds(space("c")).await;
    conformance::an_unmet_expectation_changes_nothing(space("d")).await;
    conformance::of_many_takers_of_one_key_exactly_one_wins(space("e")).await;
    conformance::a_key_with_a_lifetime_is_gone_after_it(space("f")).await;
    conformance::a_key_that_was_set_anew_does_not_expire_with_its_former_value(space("g")).await;
    conformance::a_change_is_told_to_who_watches(space("h"), space("h/other")).await;
    conformance::no_addition_is_lost(space("i")).await;
}
