"""Takes safeguards away, one at a time, in a copy of the tree: the tests that are named for them must turn red.

`make mutations`, or `python -m tests.faults.mutations lock key` for those whose words contain one of these.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[2]

MODEL = "tests/faults/test_model.py::test_whatever_happens_the_books_agree_and_every_order_ends"
GUARDS = "tests/faults/test_races.py::test_the_schema_itself_is_the_last_guard"


@dataclass(frozen=True)
class Change:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """`words`: what is taken away, as in docs/faults.md. Each of the tests, `file::name`, must turn red."""

    words: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


ONE_ORDER = "tests/workflows/test_one_order.py"
SCHEMA = "store/schema.sql"
JOURNAL, STOCK, PAYMENTS, ORDERS, DISPATCH = (
    f"store/{name}.py" for name in ("journal", "stock", "payments", "orders", "dispatch")
)
ROUTER = "workflows/router.py"
PEOPLE = "tests/workflows/test_people.py"
LOST = "tests/integration/test_lost_workflows.py"
NO_CONSTRAINT = Change(SCHEMA, ",\n    CONSTRAINT never_more_than_there_is CHECK (reserved <= on_hand)", "")
NO_LOOK_AT_STOCK = Change(STOCK, "if available.get(sku, 0) < quantity}", "if sku not in available}")

MUTATIONS = (
    # ---- once ----------------------------------------------------------------------------------------------------
    Mutation(
        "the claim: every attempt works",
        (
            Change(
                JOURNAL,
                "ON CONFLICT DO NOTHING\n            RETURNING subject",
                "ON CONFLICT (subject, link, event) DO UPDATE SET link = excluded.link RETURNING subject",
            ),
        ),
        ("tests/integration/test_journal.py::test_a_link_works_on_an_order_once", MODEL),
    ),
    Mutation(
        "the key of the capture is the same for each attempt",
        (
            Change(
                "activities/finalize_order.py", 'key=f"{event.subject}.finalize"', "key=__import__('uuid').uuid4().hex"
            ),
        ),
        (MODEL,),
    ),
    Mutation(
        "the key of the refund is the same for each attempt",
        (
            Change(
                "activities/refund_payment.py", 'key=f"{event.subject}.refund"', "key=__import__('uuid').uuid4().hex"
            ),
        ),
        (MODEL,),
    ),
    Mutation(
        "the idempotency key: the first request wins, the others get its order",
        (Change(ORDERS, "ON CONFLICT (owner, key) DO NOTHING", ""),),
        (
            "tests/integration/test_orders_store.py::test_the_same_request_a_hundred_times_at_once_makes_one_order",
            MODEL,
        ),
    ),
    Mutation(
        "the unique idempotency key in the schema",
        (Change(SCHEMA, ",\n    PRIMARY KEY (owner, key)", ""),),
        (GUARDS,),
    ),
    Mutation(
        "a workflow that has completed is not run again: ALLOW_DUPLICATE_FAILED_ONLY",
        (
            Change(
                "dispatch/temporal.py",
                "policy.ALLOW_DUPLICATE if batch.again else policy.ALLOW_DUPLICATE_FAILED_ONLY",
                "policy.ALLOW_DUPLICATE",
            ),
        ),
        (f"{ONE_ORDER}::test_an_order_that_is_sent_again_after_its_end_does_not_start_again",),
    ),
    Mutation(
        "the router drops events that it has seen",
        (Change(ROUTER, "if name not in self._seen and not", "if not"),),
        (f"{ONE_ORDER}::test_an_order_that_is_sent_twice_while_it_is_on_its_way_is_worked_on_once",),
    ),
    Mutation(
        "an event that comes again moves nobody",
        (Change(SCHEMA, " AND fresh.source IS NOT NULL)", ")"),),
        ("tests/integration/test_journal.py::test_an_event_that_comes_again_does_not_move_the_order_again",),
    ),
    Mutation(
        "a webhook that comes again is the same webhook",
        (
            Change("store/webhooks.py", "ON CONFLICT (provider, webhook_id) DO UPDATE SET body = webhooks.body", ""),
            Change(
                SCHEMA,
                ",\n    UNIQUE (provider, webhook_id)  -- a webhook that comes again is the same webhook",
                "",
            ),
        ),
        (
            "tests/integration/test_api_webhooks.py::test_a_webhook_that_comes_fifty_times_at_once_is_one",
            "tests/faults/test_races.py::test_a_webhook_that_comes_fifty_times_at_once_has_one_effect",
        ),
    ),
    Mutation(
        "a batch whose dispatcher died is repeated as it was",
        (Change("dispatch/dispatcher.py", "if pending.left_behind:", "if False:"),),
        ("tests/integration/test_dispatcher.py::test_a_batch_whose_dispatcher_died_is_repeated_as_it_was",),
    ),
    Mutation(
        "a workflow that Temporal has lost is brought again",
        (
            Change(
                "dispatch/dispatcher.py",
                "create_task(bring_back_lost(pool, client, self._batching.lost_after_seconds))",
                "create_task(asyncio.sleep(3600))",
            ),
        ),
        (
            f"{LOST}::test_a_temporal_that_has_lost_everything_is_told_again",
            f"{LOST}::test_the_open_orders_of_a_terminated_workflow_are_brought_again",
        ),
    ),
    Mutation(
        "an order that was taken back begins with that in the workflow that takes the place of a lost one",
        (Change(DISPATCH, "withdrawn.get(event.subject, event)", "event"),),
        (f"{LOST}::test_what_was_parked_is_released_and_what_was_taken_back_begins_with_that",),
    ),
    Mutation(
        "in the workflow that takes the place of a lost one a parking has an id of its own",
        (
            Change(
                ROUTER,
                'workflow.uuid4().hex[:8] if workflow.patched(PARKING_PATCH) else f"{self._parked_so_far}"',
                'f"{self._parked_so_far}"',
            ),
        ),
        (f"{PEOPLE}::test_in_the_workflow_that_takes_the_place_of_a_lost_one_a_parking_is_another",),
    ),
    Mutation(
        "what follows in a lost workflow waits until that is there again",
        (Change("dispatch/message_delivery.py", "if why != COMPLETED:", "if False:"),),
        (f"{LOST}::test_what_follows_in_a_lost_workflow_brings_back_what_that_carried",),
    ),
    Mutation(
        "an order that was parked before a patch goes on as it began: workflow.patched",
        (Change("workflows/parking.py", "workflow.patched(PARKING_PATCH) and queues", "queues"),),
        ("tests/workflows/test_replay.py::test_an_old_history_is_replayed_by_the_code_of_today",),
    ),
    Mutation(
        "one dispatcher leads: the advisory lock",
        (Change(DISPATCH, 'SELECT pg_try_advisory_lock($1)"', 'SELECT $1 > 0"'),),
        ("tests/integration/test_dispatcher.py::test_several_api_processes_do_not_send_an_order_twice",),
    ),
    Mutation(
        "an attempt that was thought dead cannot work any more once the order goes back",
        (
            Change(
                "chain/table.py",
                "return [each.name for each in self.forward]",
                "return []",
            ),
        ),
        ("tests/faults/test_races.py::test_an_attempt_that_comes_to_life_after_the_order_went_back_does_nothing",),
    ),
    # ---- never more than there is --------------------------------------------------------------------------------
    Mutation(
        "the constraint never_more_than_there_is",
        (NO_CONSTRAINT,),
        ("tests/integration/test_journal.py::test_the_schema_itself_refuses_more_reserved_than_there_is",),
    ),
    Mutation(
        "the look at what is available",
        (NO_LOOK_AT_STOCK,),
        ("tests/integration/test_consumers.py::test_the_last_item_goes_to_the_earliest_order", MODEL),
    ),
    Mutation(
        "the look at what is available, and the constraint",
        (NO_LOOK_AT_STOCK, NO_CONSTRAINT),
        (
            "tests/integration/test_consumers.py::test_a_hundred_orders_at_once_for_ten_items_sell_ten",
            "tests/faults/test_races.py::test_a_hundred_orders_at_once_for_ten_items_sell_ten",
            MODEL,
        ),
    ),
    Mutation(
        "the lock on the stock: FOR UPDATE",
        (Change(STOCK, "ORDER BY sku FOR UPDATE", "ORDER BY sku"),),
        ("tests/integration/test_consumers.py::test_a_hundred_orders_at_once_for_ten_items_sell_ten",),
    ),
    Mutation(
        "only what is held is sold or released",
        (Change(STOCK, " AND state = 'held'\n            RETURNING", "\n            RETURNING"),),
        ("tests/faults/test_races.py::test_what_was_sold_is_not_given_back",),
    ),
    # ---- one payment, one order ----------------------------------------------------------------------------------
    Mutation(
        "the constraint one_payment_serves_one_order",
        (Change(SCHEMA, "    CONSTRAINT one_payment_serves_one_order PRIMARY KEY (provider, payment_id),\n", ""),),
        (
            "tests/integration/test_journal.py::test_the_schema_itself_refuses_one_payment_for_two_orders",
            "tests/integration/test_consumers.py::test_one_payment_serves_the_earliest_of_many_orders",
            "tests/faults/test_races.py::test_a_hundred_orders_with_one_payment_confirm_one",
            MODEL,
        ),
    ),
    Mutation(
        "money that was given back is not held again",
        (Change(PAYMENTS, " AND payments.state <> 'refunded'\n", "\n"),),
        ("tests/faults/test_races.py::test_money_that_was_given_back_is_not_held_again",),
    ),
    # ---- locks in one order --------------------------------------------------------------------------------------
    Mutation(
        "SKUs are locked in one order",
        (Change(STOCK, " ORDER BY sku FOR UPDATE", " FOR UPDATE"),),
        ("tests/faults/test_races.py::test_skus_wanted_in_opposite_orders_never_deadlock",),
    ),
    Mutation(
        "payments are claimed in one order",
        (Change(PAYMENTS, "ORDER BY provider, payment_id, nth", "ORDER BY nth"),),
        ("tests/faults/test_races.py::test_payments_claimed_in_opposite_orders_never_deadlock",),
    ),
    Mutation(
        "subjects are claimed in one order",
        (Change(JOURNAL, "ORDER BY 1, 2, 3", "--"),),
        ("tests/faults/test_races.py::test_subjects_claimed_in_opposite_orders_never_deadlock",),
    ),
    Mutation(
        "what is published about is locked in one order",
        (Change("store/intake.py", "                await _lock(tx, [event.subject for event in events])\n", ""),),
        ("tests/integration/test_intake.py::test_the_same_events_in_opposite_orders_at_once_never_deadlock",),
    ),
    # ---- decided once --------------------------------------------------------------------------------------------
    Mutation(
        "the router asks whether an order was withdrawn before it goes on",
        (
            Change(ROUTER, "event = subject.withdrawn or event", "pass"),
            Change(ROUTER, "return self.going_back or self.withdrawn is not None", "return self.going_back"),
        ),
        ("tests/workflows/test_people.py::test_one_of_a_batch_is_cancelled_and_the_others_are_confirmed",),
    ),
    Mutation(
        "a cancel is too late once finalisation has begun",
        (Change(ROUTER, "if subject.too_late or subject.ended:", "if False:"),),
        (
            "tests/workflows/test_people.py::test_a_cancel_is_too_late_once_finalisation_has_begun",
            "tests/faults/test_races.py::test_a_cancel_and_the_finalisation_have_one_winner",
        ),
    ),
    Mutation(
        "a cancel and the dispatcher do not take the same order",
        (Change(DISPATCH, "ORDER BY position LIMIT $1 FOR UPDATE", "ORDER BY position LIMIT $1"),),
        ("tests/integration/test_api_operations.py::test_a_cancel_and_the_dispatcher_never_both_take_an_order",),
    ),
    Mutation(
        "after its end nothing moves an order",
        (Change(SCHEMA, "AND coalesce(ended_at, 'infinity') = 'infinity'", ""),),
        ("tests/faults/test_races.py::test_after_its_end_nothing_moves_an_order",),
    ),
    # ---- oldest first --------------------------------------------------------------------------------------------
    Mutation(
        "the dispatcher takes the oldest",
        (Change(DISPATCH, "ORDER BY position LIMIT $1", "ORDER BY position DESC LIMIT $1"),),
        ("tests/integration/test_dispatcher.py::test_a_batch_is_bounded_in_number_and_in_bytes",),
    ),
    Mutation(
        "in a batch the earlier order comes first",
        (
            Change(
                "activities/check_cart.py",
                "for event in events}\n        missing",
                "for event in reversed(events)}\n        missing",
            ),
        ),
        (
            "tests/integration/test_consumers.py::test_the_last_item_goes_to_the_earliest_order",
            "tests/faults/test_races.py::test_of_orders_that_travel_together_the_ten_earliest_get_the_ten_items",
        ),
    ),
    # ---- the last guards -----------------------------------------------------------------------------------------
    Mutation(
        "the journal can only grow",
        (Change(SCHEMA, "BEFORE UPDATE OR DELETE ON journal", "BEFORE UPDATE OR DELETE ON claims"),),
        ("tests/integration/test_journal.py::test_the_journal_can_only_grow",),
    ),
    Mutation(
        "an order has one payment",
        (Change(SCHEMA, ",\n    CONSTRAINT one_order_has_one_payment UNIQUE (order_id)", ""),),
        (GUARDS,),
    ),
    Mutation(
        "an order number is given once", (Change(SCHEMA, "order_number text UNIQUE", "order_number text"),), (GUARDS,)
    ),
    Mutation("one notification of each kind", (Change(SCHEMA, ",\n    UNIQUE (subject, type)", ""),), (GUARDS,)),
    Mutation(
        "an event is journalled once",
        (
            Change(SCHEMA, ",\n    UNIQUE (source, id)", ""),
            Change(SCHEMA, "        ON CONFLICT (source, id) DO NOTHING\n", ""),
        ),
        (
            GUARDS,
            MODEL,
            "tests/faults/test_crashes.py::test_a_process_that_is_killed_loses_nothing_and_does_nothing_twice",
        ),
    ),
    # ---- soon again ----------------------------------------------------------------------------------------------
    Mutation(
        "what a silent worker had is given to another soon: the heartbeat",
        (Change(ROUTER, "HEARTBEAT_TIMEOUT = timedelta(seconds=5)", "HEARTBEAT_TIMEOUT = timedelta(seconds=30)"),),
        ("tests/faults/test_outages.py::test_after_a_kill_all_that_was_under_way_moves_again_within_ten_seconds",),
    ),
)


def main(wanted: Sequence[str]) -> int:
    chosen = [each for each in MUTATIONS if not wanted or any(word in each.words for word in wanted)]
    survivors: list[str] = []
    with _copy_of_the_tree() as tree:
        tests = sorted({test for mutation in chosen for test in mutation.tests})
        if red := _red(tree, tests):
            _say(f"already red without any change: {', '.join(red)}")
            return 1
        for mutation in chosen:
            with _changed(tree, mutation.changes):
                red = _red(tree, mutation.tests)
            for test in mutation.tests:
                if test not in red:
                    survivors.append(f"{mutation.words}: {test}")
                verdict = "caught    " if test in red else "NOT CAUGHT"
                _say(f"{verdict}  {mutation.words}: {test.partition('::')[2]}")
    _say(f"{len(chosen)} safeguards taken away, {len(survivors)} not noticed")
    return 1 if survivors else 0


@contextmanager
def _copy_of_the_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lanka-mutations-") as directory:
        skipped = ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "node_modules")
        yield Path(copytree(ROOT, Path(directory) / "tree", ignore=skipped))


@contextmanager
def _changed(tree: Path, changes: Sequence[Change]) -> Iterator[None]:
    """With each old text, which stands there once, replaced by the new one."""
    before = {change.file: (tree / change.file).read_text() for change in changes}
    try:
        for change in changes:
            text = (tree / change.file).read_text()
            assert text.count(change.old) == 1, f"{change.old!r} stands {text.count(change.old)} times in {change.file}"
            (tree / change.file).write_text(text.replace(change.old, change.new))
        yield
    finally:
        for file, text in before.items():
            (tree / file).write_text(text)


def _red(tree: Path, tests: Sequence[str]) -> set[str]:
    """Those of the tests that fail, in at least one of their forms."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        # The copy comes before the installed tree, in the processes that the tests start as well.
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests could not be run:\n{done.stdout}")
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return {
        test for test in tests if any(name == test or name.startswith((f"{test}[", f"{test}::")) for name in failed)
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
