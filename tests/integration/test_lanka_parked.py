"""The command line beside an API that has more than it shows at once, or beside none."""

import asyncio
import json
import os

from tests.e2e.machine import LANKA
from tests.servers import Said, one_who_says

PARKED = {
    "subject": "01m841jgb2p35sdv",
    "link": "payment",
    "reason": "unexpected_answer",
    "attempts": 3,
    "since": "2026-01-01T10:00:00Z",
    "last_error": "\x1b[2Jwhat\nthe provider says",
    "amount": 4150,
    "currency": "EUR",
    "customer_id": "cus_42",
    "earlier": 2,
    "id": "01m841jgb2p35sdv.payment.parked.0a1b2c3d",
}
MORE = {"Total-Count": "1100", "Link": '</operations/parked?limit=1&cursor=abc%3D>; rel="next"'}


async def lanka(*words: str, **env: str) -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    command = await asyncio.create_subprocess_exec(LANKA, *words, stdout=pipe, stderr=pipe, env={**os.environ, **env})
    out, errors = await command.communicate()
    return command.returncode, out.decode(), errors.decode()


async def test_more_than_is_shown_is_told_with_how_to_see_it() -> None:
    async with one_who_says(lambda: Said(200, json.dumps([PARKED]).encode(), MORE)) as api:
        where = ("--api", api, "--key", "operator")
        _, listed, told = await lanka("parked", "list", "--limit", "1", *where)
        assert listed.startswith("01m841jgb2p35sdv\tpayment\tunexpected_answer\t3\t2026-01-01T10:00:00Z\t\\x1b[2Jwhat")
        assert listed.endswith("\tEUR 41.50, cus_42, parked 2 times before\n")
        assert told == "1100 match, 1 shown: --limit, or --cursor abc=\n"
        _, document, _ = await lanka("parked", "list", "--limit", "1", "--json", *where)
        assert json.loads(document) == [PARKED]


async def test_whoever_cannot_be_reached_is_told_on_stderr_and_stdout_stays_empty() -> None:
    code, out, errors = await lanka("parked", "list", "--json", "--api", "http://127.0.0.1:1", "--key", "operator")
    assert (code, out) == (1, "")
    assert errors.startswith("lanka: http://127.0.0.1:1 does not answer")


async def test_the_version_is_told() -> None:
    code, out, _ = await lanka("--version")
    assert code == 0
    assert out.startswith("lanka 0.")


async def test_the_shell_completes_what_is_begun() -> None:
    begun = {"_LANKA_COMPLETE": "complete_bash", "COMP_WORDS": "lanka parked re", "COMP_CWORD": "2"}
    assert set((await lanka(**begun))[1].split()) == {"reject", "release"}
