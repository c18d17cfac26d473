"""The provider's books, in SQLite: whatever was answered survives a `kill -9`."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel
from ulid import ULID

from sandbox.faults import Faults
from sandbox.problems import Problem

SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    payment TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    key        TEXT PRIMARY KEY,
    operation  TEXT NOT NULL,
    payment_id TEXT NOT NULL REFERENCES payments (id),
    payment    TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS faults (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    faults   TEXT NOT NULL
) STRICT;
"""


class Status(StrEnum):
    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    EXPIRED = "expired"
    REFUNDED = "refunded"


Outcome = Literal[Status.PENDING, Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.EXPIRED]
Change = Literal["capture", "refund", "settle"]
Decision = Literal[Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.EXPIRED]


class Operation(BaseModel):
    """A call that changed the payment. `amount` is the money that moved, 0 if only an authorisation went."""

    operation: Change
    key: str | None
    amount: int
    at: AwareDatetime


class Payment(BaseModel):
    """Amounts in minor units of `currency`."""

    id: str
    status: Status
    amount: int
    currency: str
    captured_amount: int = 0
    refunded_amount: int = 0
    operations: tuple[Operation, ...] = ()
    created_at: AwareDatetime


class Ledger:
    """Used by one thread, the one that opened it. A commit takes 0.2 ms on a fair disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # NORMAL loses the last commits with the power
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def create(self, amount: int, currency: str, outcome: Outcome, key: str | None = None) -> Payment:
        """With a key, once for each key."""
        payment = self._once("create", None, key, lambda: self._created(amount, currency, outcome))
        if (payment.amount, payment.currency, payment.status) != (amount, currency, outcome):
            raise _reused("create", payment.id)
        return payment

    def _created(self, amount: int, currency: str, outcome: Outcome) -> Payment:
        payment = Payment(
            id=f"pay_{ULID()}",
            status=outcome,
            amount=amount,
            currency=currency,
            captured_amount=amount if outcome == Status.CAPTURED else 0,
            created_at=datetime.now(UTC),
        )
        self._db.execute("INSERT INTO payments (id, payment) VALUES (?, ?)", (payment.id, payment.model_dump_json()))
        return payment

    def find(self, payment_id: str) -> Payment:
        row = self._db.execute("SELECT payment FROM payments WHERE id = ?", (payment_id,)).fetchone()
        if row is None:
            raise Problem(404, "payment_not_found", f"there is no payment {payment_id!r}")
        return Payment.model_validate_json(row[0])

    def page(self, limit: int, after: str | None) -> list[Payment]:
        """The payments that were created after payment `after`, oldest first."""
        if after is not None:
            self.find(after)
        rows = self._db.execute(
            "SELECT payment FROM payments"
            " WHERE number > coalesce((SELECT number FROM payments WHERE id = ?), 0) ORDER BY number LIMIT ?",
            (after, limit),
        )
        return [Payment.model_validate_json(row[0]) for row in rows]

    def capture(self, payment_id: str, key: str) -> Payment:
        """Takes the whole authorised amount."""
        return self._once("capture", payment_id, key, lambda: self._write(_captured(self.find(payment_id), key)))

    def refund(self, payment_id: str, key: str) -> Payment:
        """Gives all captured money back, or lets the authorisation go."""
        return self._once("refund", payment_id, key, lambda: self._write(_refunded(self.find(payment_id), key)))

    def settle(self, payment_id: str, decision: Decision) -> Payment:
        """Decides a pending payment, as the customer's bank would."""
        return self._once("settle", payment_id, None, lambda: self._write(_settled(self.find(payment_id), decision)))

    def faults(self) -> Faults:
        row = self._db.execute("SELECT faults FROM faults").fetchone()
        return Faults() if row is None else Faults.model_validate_json(row[0])

    def set_faults(self, faults: Faults) -> None:
        self._db.execute("INSERT OR REPLACE INTO faults VALUES (1, ?)", (faults.model_dump_json(),))

    def _once(self, operation: str, payment_id: str | None, key: str | None, act: Callable[[], Payment]) -> Payment:
        # A refusal is not remembered: it changed nothing, and the refund of a payment that was still pending
        # must be possible with the same key once the payment is settled.
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute(
                "SELECT operation, payment_id, payment FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                payment = act()
                if key:
                    answer = (key, operation, payment.id, payment.model_dump_json())
                    self._db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", answer)
                return payment
            if (operation, payment_id or row[1]) != (row[0], row[1]):
                raise _reused(row[0], row[1])
            return Payment.model_validate_json(row[2])

    def _write(self, payment: Payment) -> Payment:
        self._db.execute("UPDATE payments SET payment = ? WHERE id = ?", (payment.model_dump_json(), payment.id))
        return payment


def _captured(payment: Payment, key: str) -> Payment:
    _must_be(payment, Status.AUTHORIZED)
    return _changed(payment, "capture", key, Status.CAPTURED, captured_amount=payment.amount)


def _refunded(payment: Payment, key: str) -> Payment:
    _must_be(payment, Status.AUTHORIZED, Status.CAPTURED)
    return _changed(payment, "refund", key, Status.REFUNDED, refunded_amount=payment.captured_amount)


def _settled(payment: Payment, decision: Decision) -> Payment:
    _must_be(payment, Status.PENDING)
    taken = payment.amount if decision == Status.CAPTURED else 0
    return _changed(payment, "settle", None, decision, captured_amount=taken)


def _reused(operation: str, payment_id: str) -> Problem:
    return Problem(422, "idempotency_key_reused", f"this key was used to {operation} payment {payment_id}")


def _must_be(payment: Payment, *allowed: Status) -> None:
    if payment.status not in allowed:
        raise Problem(409, f"payment_{payment.status}", f"payment {payment.id} is {payment.status}")


def _changed(payment: Payment, operation: Change, key: str | None, status: Status, **moved: int) -> Payment:
    done = Operation(operation=operation, key=key, amount=sum(moved.values()), at=datetime.now(UTC))
    return payment.model_copy(update={"status": status, "operations": (*payment.operations, done), **moved})
