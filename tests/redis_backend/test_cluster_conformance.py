"""The conformance suite on a cluster: whole with one partition; with several, all that does not rest on one queue."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ORDER = (
    "test_tasks_submitted_together_are_served_by_priority",
    "test_one_claim_call_after_another_keeps_the_order",
    "test_within_a_priority_the_older_task_is_served_first",
    "test_a_batch_of_one_priority_is_served_in_its_order",
    "test_tasks_of_several_routes_are_merged_by_virtual_time",
    "test_a_task_is_overtaken_by_urgent_ones_only_within_its_offset",
    "test_placed_and_open_tasks_are_merged_by_virtual_time",
    "test_the_order_after_a_pause_is_what_it_would_have_been",
    "test_a_released_task_keeps_its_place_and_is_charged_nothing",
    "test_a_failure_without_delay_is_ready_at_once_in_its_old_place",
    "test_a_lapsed_lease_returns_the_task_once_with_its_age",
    "test_a_claim_whose_answer_was_lost_is_given_back_at_once_and_not_charged",
    "test_among_its_new_equals_the_older_is_served_first",
    "test_a_scheduled_task_has_its_new_place_when_it_is_due",
    "test_a_held_task_stays_with_its_holder_and_has_its_new_place_when_given_back",
    "test_there_and_back_is_where_it_was",
    "test_suspects_go_out_by_virtual_time",
    "test_a_suspect_moves_with_its_priority",
    "test_a_purge_is_logged_with_the_end_it_forgets",
    "test_a_reader_resumes_from_its_cursor",
    "test_a_healthy_store_has_no_findings_in_any_state",
    "test_what_its_node_held_and_had_not_started_is_no_suspect",
    "test_a_claimer_of_half_of_many_routes_is_served_in_order_past_a_cancelled_task",
    "test_tasks_of_many_routes_are_served_in_order_by_claims_of_any_size",
)
"""They tell tasks apart by the order of the whole mesh, which is exact within a partition only."""
ONE_BELL = (
    "test_tasks_handed_over_with_the_bell_are_claimed_for_the_waiting_claimer",
    "test_only_as_many_claimers_are_woken_as_there_are_tasks",
    "test_a_placed_task_and_an_open_one_ring_two_claimers",
    "test_a_route_first_seen_after_the_claimer_is_served_to_it",
    "test_new_routes_are_matched_with_a_waiting_claimer_by_the_same_rules",
    "test_suspects_are_announced_even_to_a_claim_that_got_all_it_asked_for",
    "test_a_claim_alone_hands_out_one_suspect_and_nothing_else",
    "test_what_was_handed_over_comes_with_the_next_claim_too",
)
"""Each partition rings, and a claim that is filled by one has not heard of the others."""
ONE_BOUND = ("test_queue_size", "test_a_full_queue_is_full_for_its_mesh_alone")
"""Each partition has its share of the queue's size."""
ONE_SERVER = ("test_a_watch_set_twice_tells_once",)
"""Hints published on two servers reach a third in any order."""


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "tests/conformance", "-q", "-n2", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)


def without(names: tuple[str, ...]) -> str:
    return " and ".join(f"not {name}" for name in names)


def test_a_cluster_with_one_partition_keeps_the_whole_contract() -> None:
    run = conformance("--backend", "cluster", "-k", without(ONE_SERVER))
    assert run.returncode == 0, run.stdout[-4_000:]


@pytest.mark.parametrize("backend", ["redis-partitions", "cluster-partitions"])
def test_a_mesh_of_several_partitions_keeps_what_does_not_rest_on_one_queue(backend: str) -> None:
    run = conformance("--backend", backend, "-k", without((*ORDER, *ONE_BELL, *ONE_BOUND, *ONE_SERVER)))
    assert run.returncode == 0, run.stdout[-4_000:]
