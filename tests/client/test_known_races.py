"""The races by which caches of two tiers are known to serve what is old, and where each is shown to be closed here.

Each is in a table of its module, which also runs it without its defence (see ``racing``). Some are what a
connection must withstand over which threads read by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import pytest

from tests.client import (
    test_copies,
    test_hearsay,
    test_patterns,
    test_races,
    test_revalidation,
    test_stale,
    test_tags,
)
from tests.client import (
    test_lane_defences as lanes,
)
from tests.client import (
    test_races_of_clocks_and_processes as processes,
)

TABLES: Final[tuple[ModuleType, ...]] = (
    test_races, processes, test_revalidation, test_stale, test_tags, test_patterns, test_copies, test_hearsay,
    lanes,
)  # fmt: skip
KNOWN: Final[dict[str, tuple[Callable[..., Any], ...]]] = {
    "a reader loads the old row, a writer invalidates, the reader fills L2": (
        test_races.an_old_load_ends_after_an_invalidation,
        test_tags.a_tag_is_invalidated_during_a_load,
        test_stale.an_invalidation_during_a_load_that_fails,
    ),
    "a reader reads L2, a writer invalidates, the reader fills L1": (
        test_races.a_read_answers_after_the_push_of_an_invalidation,
        test_races.a_read_answers_after_a_flush,
        test_races.a_read_answers_after_an_own_invalidation,
        test_tags.a_cleared_entry_is_on_its_way_to_l1,
        test_patterns.a_read_fills_l1_while_an_own_pattern_is_on_its_way,
        test_revalidation.a_push_arrives_while_its_entry_is_compared,
    ),
    "an early refresh meets an invalidation": (processes.an_early_refresh_meets_an_invalidation,),
    "a follower joins an old flight": (
        test_races.a_caller_comes_after_an_own_invalidation,
        test_races.a_caller_comes_long_after_a_foreign_invalidation,
        test_races.a_caller_comes_while_nothing_proves_freshness,
    ),
    "a push is lost in a reconnect gap": (
        test_races.a_push_is_lost_while_the_listener_reconnects,
        test_revalidation.a_change_is_missed_while_nothing_is_told,
    ),
    "events arrive out of order": (
        processes.events_arrive_out_of_order,
        processes.pushes_arrive_late_and_out_of_order,
    ),
    "a connection is half-open": (test_races.the_tracking_connection_is_half_open,),
    "a lease expires during its load": (test_races.a_lease_expires_during_its_load,),
    "the holder of a lease dies": (test_races.the_holder_of_a_lease_dies,),
    "a write-through set meets an older fill": (
        test_races.an_old_load_ends_after_a_set,
        test_stale.a_set_during_a_reload,
    ),
    "a failover loses an acknowledged invalidation": (
        test_races.a_failover_undoes_an_invalidation,
        processes.a_failover_brings_an_invalidated_value_back,
        processes.a_failover_brings_a_replaced_value_back,
        processes.a_failover_brings_a_tag_back,
        processes.a_failover_brings_back_what_a_set_in_doubt_replaced,
        processes.a_second_failover_undoes_what_was_repeated_after_the_first,
        test_hearsay.a_failover_undoes_what_a_process_did_that_died,
        test_hearsay.a_failover_undoes_it_while_the_new_master_takes_no_writes,
        test_hearsay.a_writer_cannot_repeat_yet_what_others_did_not_hear,
        test_hearsay.a_suspect_entry_is_compared_with_what_a_failover_brought_back,
        test_hearsay.another_process_takes_the_lease_of_what_a_failover_brought_back,
    ),
    "a pod stays with the old master after a partition": (
        processes.a_pod_stays_with_a_deposed_master,
        test_races.another_server_answers_at_the_same_address,
    ),
    "an own write is read late": (
        test_races.an_own_set_on_its_way_meets_a_read,
        test_races.a_read_fills_l1_while_an_own_invalidation_is_on_its_way,
        test_races.an_own_read_follows_an_invalidation_that_did_not_get_through,
    ),
    "a caller changes the value that others share": (
        test_copies.a_hit_is_changed_by_its_caller,
        test_copies.a_value_is_changed_by_one_of_two_who_read_it_together,
        test_copies.a_value_is_changed_by_one_of_two_who_wait_for_its_load,
    ),
    "a fork shares a socket": (processes.a_fork_shares_a_socket,),
    "an answer over a thread's own connection is late, torn or of another place": (
        lanes.an_answer_trickles_in,
        lanes.an_answer_is_too_short,
        lanes.a_server_wants_a_password,
        lanes.a_cache_lives_in_a_database_of_its_own,
        lanes.a_read_that_is_out_of_time,
    ),
    "a thread's own connection is lost, or who leads has gone": (
        lanes.a_lane_is_lost_and_the_next_cannot_be_opened,
        lanes.threads_come_while_another_leads,
    ),
    "a clock jumps": (
        processes.a_machine_sleeps_for_a_while,
        processes.the_server_s_clock_steps_back,
        processes.the_wall_clock_of_a_pod_steps_back,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_race_is_run_with_its_defence_and_without(name: str) -> None:
    run = [race for module in TABLES for race in module.RACES]
    assert KNOWN[name]
    assert all(race in run for race in KNOWN[name])
    assert len(run) == len(set(run))
