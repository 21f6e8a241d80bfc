"""Follows each tenant's own numbering through the log.

Each signed entry names its number and the entry before. Entries whose content is gone are still
counted and named by their leaves, so that an erasure leaves no gap, and a verdict that was left out
does.
"""

from dataclasses import dataclass

from audit.reports.opening import Opened
from audit.reports.records import SequenceGap


@dataclass(slots=True)
class _End:
    """The last that is known of a tenant's chain."""

    sequence: int | None
    """Of the last readable entry; None where the window begins in the middle of the chain."""
    digest: str | None
    """Of the last entry, readable or not."""
    num_unread: int = 0
    """Entries since the last readable one whose content is not to be had."""


class Chains:
    """The chains of all tenants; memory grows with the tenants."""

    def __init__(self, *, is_from_start: bool, tenant: str | None) -> None:
        """Follow the chains from the log's start or from its middle; of one tenant or of all."""
        self._is_from_start = is_from_start
        self._tenant = tenant
        self._ends: dict[str, _End] = {}

    def skip(self, tenant: str, entry_digest: str) -> None:
        """Count an entry that cannot be read, by its leaf and the tenant that the log states."""
        end = self._end(tenant)
        end.digest = entry_digest
        end.num_unread += 1

    def follow(self, opened: Opened) -> SequenceGap | None:
        """Take the next entry; return what is wrong with its place, None where nothing is."""
        if self._tenant not in (None, opened.tenant):
            return None
        end = self._end(opened.tenant)
        gap = self._gap(end, opened)
        self._ends[opened.tenant] = _End(sequence=opened.sequence, digest=opened.entry_digest)
        return gap

    def _end(self, tenant: str) -> _End:
        start = 0 if self._is_from_start else None
        return self._ends.setdefault(tenant, _End(sequence=start, digest=None))

    def _gap(self, end: _End, opened: Opened) -> SequenceGap | None:
        if end.sequence is None and end.digest is None:
            return None
        problem, num_unexplained = "", 0
        if end.sequence is not None:
            num_unexplained = opened.sequence - end.sequence - end.num_unread - 1
        if num_unexplained > 0:
            problem = f"{num_unexplained} entries of this tenant are not in the log"
        elif num_unexplained < 0:
            problem = "the numbers go back: two entries claim one place"
        elif opened.previous_digest != end.digest:
            problem = "the entry names another one as the one before it"
        if not problem:
            return None
        return SequenceGap(
            tenant=opened.tenant,
            after_sequence=end.sequence or 0,
            next_sequence=opened.sequence,
            at_index=opened.log_index,
            num_unexplained=max(0, num_unexplained),
            problem=problem,
        )
