"""How each provider's evidence grew: its last statement, and a bounded series of points."""

from collections.abc import Iterator
from dataclasses import dataclass

from audit.reports import members as m
from audit.reports.records import EvidencePoint, Listing, ProviderStanding
from audit.reports.spool import Spool

MAX_STANDINGS = 24
MAX_POINTS = 200

#: FAILED providers first, then those with the most evidence against them.
_STREAMS = (
    "SELECT s.stream_id, s.log_index, s.statement, l.provider_name, l.provider_uri, "
    "l.claimed_model, (SELECT COUNT(*) FROM lines n WHERE n.stream_id = s.stream_id) "
    "FROM streams s JOIN lines l ON l.log_index = s.log_index "
    "ORDER BY l.stream_verdict = 'FAILED' DESC, l.stream_log10_e_value DESC, s.stream_id LIMIT ?"
)
_POINTS = (
    "SELECT log_index, verified_at, verdict, stream_log10_e_value, stream_num_exchanges "
    "FROM lines WHERE stream_id = ? ORDER BY log_index"
)
_FIRST_FAILED = (
    "SELECT log_index, verified_at FROM lines WHERE stream_id = ? AND {} = 'FAILED' "
    "ORDER BY log_index LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class _Point:
    log_index: int
    verified_at: str
    verdict: str
    log10_e_value: float
    num_exchanges: int


def standings(spool: Spool) -> Listing[ProviderStanding]:
    """Return where the providers stand. Raises: VerificationError for a malformed statement."""
    ((total,),) = spool.query("SELECT COUNT(*) FROM streams")
    rows = list(spool.query(_STREAMS, (MAX_STANDINGS,)))
    found = []
    for stream_id, index, statement, provider, uri, model, count in rows:
        finding = m.parse_object(str(statement).encode("utf-8"), "the provider's evidence")
        found.append(
            _standing(
                spool,
                str(stream_id),
                finding,
                last_index=int(index or 0),
                provider=_text(provider),
                uri=_text(uri),
                model=_text(model),
                num_verdicts=int(count or 0),
            )
        )
    return Listing(total=int(total or 0), items=tuple(found))


def _standing(
    spool: Spool,
    stream_id: str,
    finding: m.Members,
    *,
    last_index: int,
    provider: str | None,
    uri: str | None,
    model: str | None,
    num_verdicts: int,
) -> ProviderStanding:
    noise = m.child(finding, "noise")
    failed_index, failed_at = _first_failed(spool, stream_id, "stream_verdict")
    return ProviderStanding(
        stream_id=stream_id,
        provider_name=provider,
        provider_uri=uri,
        model=model,
        verdict=m.text(finding, "verdict"),
        statement=m.text(finding, "statement"),
        num_verdicts=num_verdicts,
        num_exchanges=m.integer(finding, "numExchanges"),
        num_tokens=m.integer(finding, "numTokens"),
        log10_e_value=m.number(finding, "log10EValue"),
        log10_threshold=m.number(finding, "log10Threshold"),
        failed_at_exchange=m.optional_integer(finding, "failedAtExchange"),
        failed_at_index=failed_index,
        failed_at=failed_at,
        first_failed_exchange_at=_first_failed(spool, stream_id, "verdict")[1],
        substituted_share_low=m.number(finding, "substitutedShareLow"),
        noise_logits=m.optional_number(noise, "estimateLogits"),
        noise_low_logits=m.optional_number(noise, "lowLogits"),
        noise_high_logits=m.optional_number(noise, "highLogits"),
        noise_confidence=m.optional_number(noise, "confidence"),
        last_index=last_index,
        points=tuple(_points(spool, stream_id, num_verdicts)),
    )


def _points(spool: Spool, stream_id: str, num_verdicts: int) -> Iterator[EvidencePoint]:
    """Yield bins of equally many verdicts."""
    num_bins = min(MAX_POINTS, num_verdicts)
    held: list[_Point] = []
    for place, row in enumerate(spool.query(_POINTS, (stream_id,))):
        index, verified_at, verdict, e_value, num_exchanges = row
        held.append(
            _Point(
                int(index or 0),
                str(verified_at),
                str(verdict),
                float(e_value or 0.0),
                int(num_exchanges or 0),
            )
        )
        if (place + 1) * num_bins // num_verdicts > place * num_bins // num_verdicts:
            yield _binned(held)
            held = []


def _binned(points: list[_Point]) -> EvidencePoint:
    first, last = points[0], points[-1]
    return EvidencePoint(
        first_index=first.log_index,
        last_index=last.log_index,
        first_verified_at=first.verified_at,
        last_verified_at=last.verified_at,
        num_verdicts=len(points),
        num_failed=sum(point.verdict == "FAILED" for point in points),
        num_inconclusive=sum(point.verdict == "INCONCLUSIVE" for point in points),
        log10_e_value=last.log10_e_value,
        max_log10_e_value=max(point.log10_e_value for point in points),
        num_exchanges=last.num_exchanges,
    )


def _first_failed(spool: Spool, stream_id: str, column: str) -> tuple[int | None, str | None]:
    for index, verified_at in spool.query(_FIRST_FAILED.format(column), (stream_id,)):
        return int(index or 0), str(verified_at)
    return None, None


def _text(cell: object) -> str | None:
    return None if cell is None else str(cell)
