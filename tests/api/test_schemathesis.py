"""Whatever schemathesis makes of /openapi.json: no failure of ours, and no answer that the document does not tell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.auth import PUBLIC_PATHS, SIGN_IN_PATHS
from api.openapi.document import document
from config.queues import Kind
from storage.database import transaction
from storage.project_tables import FileAttachment
from storage.tables import LOCAL_OWNER
from tests import factories
from tests.api.conftest import Listen, Listening

CHECKS: list[Any] = [
    status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
# For a longer look: SCHEMATHESIS_EXAMPLES=500. Then each run tries others.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "8"))
bounded = settings(
    deadline=None, database=None, derandomize=EXAMPLES <= 8, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# No worker runs: what waits for one gives up soon.
HASTY = {"SEARCH_TIMEOUT_S": "0.05", "WAIT_MAX_S": "0.05"}
SEARCHES = {"/api/search", "/api/rag_search"}
# Without it these tell of a job to its end, which does not come.
STREAMS = {
    "POST /api/conversations/import",
    "POST /api/conversations/{conversation_id}/project-draft/chat/stream",
}


def known_ids() -> dict[str, list[str]]:
    """Of what is there, so that more than 404 is seen."""
    conversation = factories.conversation()
    factories.question(conversation, "How do I prune roses?")
    with transaction() as session:
        file = FileAttachment(
            owner_id=LOCAL_OWNER, conversation_id=conversation, filename="a.txt", file_size=1, file_type="text/plain",
            digest="0" * 64,
        )  # fmt: skip
        session.add(file)
        session.flush()
        file_id = file.id
    ended = factories.job(Kind.NOOP)
    claimed = factories.claim(ended)
    assert claimed is not None
    factories.finish(ended, claimed.attempt, "succeeded")
    return {
        "conversation_id": [conversation],
        "session_id": [conversation],
        "file_id": [file_id],
        "job_id": [ended],
        "prompt_type": ["chat", "project_draft"],
    }


Check = Callable[[Case, requests.Response], None]


def walk(live: Listening, check: Check, examples: int, skipped: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with the answers to every address, each with the request that shows it."""
    wrong: list[str] = []
    ids = known_ids()
    with requests.Session() as session:
        session.trust_env = False
        for found in schemathesis.openapi.from_dict(document(live.app)).get_all_operations():
            operation = found.ok()
            if operation.path not in skipped:
                for made in kinds(operation, ids):
                    wrong += tried(made, session, live.port, check, examples)
    return wrong


def kinds(operation: Any, ids: dict[str, list[str]]) -> Iterator[st.SearchStrategy[Case]]:
    """Requests as they should be, of things that are there and of any; and requests that are wrong somewhere."""
    name = f"{operation.method.upper()} {operation.path}"
    fixed = {"headers": {"Prefer": "respond-async"}} if name in STREAMS else {}
    yield operation.as_strategy(GenerationMode.POSITIVE, **fixed)
    if operation.body or operation.query:  # else there is little that could be wrong, and long looking for it
        yield operation.as_strategy(GenerationMode.NEGATIVE, **fixed)
    known = {one.name: st.sampled_from(ids[one.name]) for one in operation.path_parameters if one.name in ids}
    if known:
        there = st.fixed_dictionaries(known)
        yield there.flatmap(lambda given: operation.as_strategy(path_parameters=given, **fixed))


def tried(
    made: st.SearchStrategy[Case], session: requests.Session, port: int, check: Check, examples: int
) -> list[str]:
    @settings(bounded, max_examples=examples)
    @given(case=made)
    def send(case: Case) -> None:
        answer = case.call(f"http://127.0.0.1:{port}", session=session, allow_redirects=False, timeout=20)
        check(case, answer)

    try:
        send()
    except Unsatisfiable:  # an address that takes nothing has nothing that could be wrong
        return []
    except FailureGroup as group:
        return [f"{error}"[:2000] for error in group.exceptions]
    except AssertionError as error:
        return [f"{error}"[:2000]]
    return []


def test_no_failure_and_no_answer_that_is_not_told(listen: Listen) -> None:
    sent: Counter[int] = Counter()

    def check(case: Case, answer: requests.Response) -> None:
        sent[answer.status_code] += 1
        away = answer.status_code == 503 and case.operation.path in SEARCHES
        assert answer.status_code < 500 or away, f"{answer.text}\n{case.as_curl_command()}"
        case.validate_response(answer, checks=CHECKS)

    wrong = walk(listen(**HASTY), check, EXAMPLES)
    assert not wrong, "\n\n".join(wrong)
    assert sent.keys() >= {200, 201, 202, 204, 400, 404, 409, 415, 422}, sent


def test_nobody_is_let_in_without_signing_in(listen: Listen) -> None:
    def check(case: Case, answer: requests.Response) -> None:
        case.validate_response(answer, checks=CHECKS)
        assert answer.status_code in (401, 400, 403, 404), case.as_curl_command()

    wrong = walk(listen(AUTH_MODE="required", **HASTY), check, examples=2, skipped=PUBLIC_PATHS | SIGN_IN_PATHS)
    assert not wrong, "\n\n".join(wrong)
