//! One suite for all engines: each check gets an empty store of its own.

use crate::{ledger, records, support::options};
use mainstay_store::Store;

/// Names every check once; `$run!(check)` decides what to do with it.
macro_rules! checks {
    ($run:ident) => {
        $run! {
            ledger::a_stale_writer_gets_a_conflict_and_changes_nothing,
            ledger::an_append_to_several_streams_is_written_whole_or_not_at_all,
            ledger::of_two_racing_writers_one_wins_and_the_rest_of_their_group_commits,
            ledger::eight_writers_leave_one_sequence_without_gaps,
            ledger::an_append_of_many_streams_is_numbered_chained_and_folded_as_one_by_one,
            ledger::pages_and_streams_read_what_was_written,
            ledger::what_breaks_a_limit_is_refused_and_nothing_is_written,
            ledger::subscribers_hear_of_the_newest_position,
            ledger::a_closed_store_refuses_appends,
            records::rebuilt_projections_equal_the_live_ones,
            records::listings_page_in_byte_order_within_a_prefix,
            records::the_built_in_projections_follow_resources_and_changes,
            records::changes_are_listed_newest_first_by_what_they_are_and_where_they_stand,
            records::a_lease_has_one_holder_and_a_growing_epoch,
            records::a_timer_stays_due_until_it_is_done,
            records::a_token_works_until_it_is_revoked,
            records::a_secret_is_decided_by_whoever_asks_first,
        }
    };
}
pub(crate) use checks;

macro_rules! on_files_and_memory {
    ($($group:ident::$check:ident,)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $group::$check(Store::memory(options()).await.unwrap()).await;
            })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("new/ledger.db");
                $group::$check(Store::sqlite(&path, options()).await.unwrap()).await;
            })*
        }
    };
}
checks!(on_files_and_memory);
