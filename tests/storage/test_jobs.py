from storage import jobs
from storage.database import transaction
from storage.jobs import NewJob
from storage.tables import LOCAL_OWNER
from config.queues import Kind


def test_claim_is_exclusive(database: str) -> None:
    with transaction() as session:
        job_id = jobs.add(session, NewJob(Kind.NOOP, LOCAL_OWNER)).id
    with transaction() as session:
        first = jobs.claim(session, job_id, "a")
    with transaction() as session:
        second = jobs.claim(session, job_id, "b")
    assert first is not None
    assert first.attempt == 1
    assert second is None
