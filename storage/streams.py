"""The providers' evidence inside a transaction of the SQL store.

`storage.store` opens the transactions; the steps here read, replace and page through the table. The
evidence itself is the judge's: nothing is added up here.
"""

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from audit.errors import CorruptState
from audit.findings import StreamKey
from audit.records import StoredStream, StreamPage
from storage.cursor import encode_stream_cursor
from storage.engine import insert_into
from storage.models import StreamRow
from storage.rows import stream_moved, to_key, to_stream
from storage.serialise import to_json


def find_stream(session: Session, key: StreamKey) -> StoredStream | None:
    """Return a provider's evidence; None before its first exchange. Raises: CorruptState."""
    query = select(StreamRow).where(
        StreamRow.provider == key.provider,
        StreamRow.endpoint == key.endpoint,
        StreamRow.model == key.model,
        StreamRow.model_digest == key.model_digest,
        StreamRow.calibration_id == key.calibration_id,
        StreamRow.policy_id == key.policy_id,
    )
    rows = session.scalars(query.limit(2)).all()
    if len(rows) > 1:
        raise CorruptState.of(rows[1].stream_id, f"{rows[0].stream_id} has the same key")
    return to_stream(rows[0]) if rows else None


def advance_stream(session: Session, stream: StoredStream, now: str) -> None:
    """Replace the version before by this one, or insert the first.

    Raises: StreamMoved unless the version before is the stored one; CorruptState.
    """
    stream_id = stream.finding.stream_id
    content: dict[str, object] = {
        "version": stream.version,
        "state_json": stream.state_json,
        "finding_json": to_json(stream.finding),
        "outcome": stream.finding.outcome,
        "log10_e_value": stream.finding.log10_e_value,
        "updated_at": now,
    }
    is_stored = (
        _insert(session, stream, content)
        if stream.version == 1
        else _replace(session, stream, content)
    )
    if is_stored:
        return
    row = session.scalars(select(StreamRow).where(StreamRow.stream_id == stream_id)).one_or_none()
    if row is not None and to_key(row) != stream.key:
        # Its readers do not find it by its key, so that to try again would never end.
        raise CorruptState.of(stream_id, "it is stored under another key")
    raise stream_moved(stream_id)


def page_of_streams(session: Session, page_size: int, below: tuple[str, str] | None) -> StreamPage:
    """Return the page below a place, most recently updated first. Raises: CorruptState."""
    place = tuple_(StreamRow.updated_at, StreamRow.stream_id)
    query = select(StreamRow).order_by(StreamRow.updated_at.desc(), StreamRow.stream_id.desc())
    if below is not None:
        query = query.where(place < below)
    rows = session.scalars(query.limit(page_size + 1)).all()
    page, has_more = rows[:page_size], len(rows) > page_size
    last = page[-1] if has_more else None
    return StreamPage(
        streams=tuple(to_stream(row) for row in page),
        next_cursor=None if last is None else encode_stream_cursor(last.updated_at, last.stream_id),
    )


def _insert(session: Session, stream: StoredStream, content: dict[str, object]) -> bool:
    key = stream.key
    insert = (
        insert_into(StreamRow, session.get_bind().dialect)
        .values(
            stream_id=stream.finding.stream_id,
            provider=key.provider,
            endpoint=key.endpoint,
            model=key.model,
            model_digest=key.model_digest,
            calibration_id=key.calibration_id,
            policy_id=key.policy_id,
            **content,
        )
        .on_conflict_do_nothing(index_elements=["stream_id"])
        .returning(StreamRow.stream_id)
    )
    return session.execute(insert).scalar_one_or_none() is not None


def _replace(session: Session, stream: StoredStream, content: dict[str, object]) -> bool:
    replace = (
        update(StreamRow)
        .where(
            StreamRow.stream_id == stream.finding.stream_id,
            StreamRow.version == stream.version - 1,
        )
        .values(**content)
        .returning(StreamRow.stream_id)
        .execution_options(synchronize_session=False)
    )
    return session.execute(replace).scalar_one_or_none() is not None
