"""The small parts that OSCAL documents of a report are made of: ids, properties, evidence.

UUIDs are derived (v5) from the report's own, so the same report gives the same bytes.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import quote

from audit.reports.records import Report, SourceUse
from audit.reports.wording import shown

JsonValue: TypeAlias = bool | int | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
JsonMembers: TypeAlias = dict[str, JsonValue]

PROPERTY_NAMESPACE = "https://inference-audit.dev/ns/oscal"

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")


def entry_uri(origin: str, log_index: int) -> str:
    """Return how an entry of a log is named in documents."""
    return f"urn:inference-audit:entry:{quote(origin, safe='')}:{log_index}"


class Ids:
    """UUIDs derived from the report's: equal parts of equal reports have equal ids."""

    def __init__(self, report: Report) -> None:
        self._namespace = uuid.UUID(report.report_id)

    def __call__(self, *parts: str) -> str:
        """Return the id of what the parts name together."""
        # JSON keeps ("a", "bc") and ("ab", "c") apart
        return str(uuid.uuid5(self._namespace, json.dumps(parts)))


def prop(name: str, value: str) -> JsonMembers:
    """Return a property in our own name space."""
    return {"name": name, "ns": PROPERTY_NAMESPACE, "value": one_line(value)}


def one_line(value: str) -> str:
    """Return a text as OSCAL's strings are: one line, and no white space around it."""
    return " ".join(shown(value).split()) or "(empty)"


def evidence(report: Report, log_index: int, digest: str, what: str) -> JsonMembers:
    """Return a reference to an entry of the log."""
    return {
        "href": entry_uri(report.log.origin, log_index),
        "description": f"Log entry {log_index:,}: {what}.",
        "props": [prop("log-index", str(log_index)), prop("entry-digest", digest)],
    }


def resources(report: Report, ids: Ids) -> Iterable[JsonMembers]:
    """Yield the plan that `import-ap` points to, and the sources that are in the log."""
    yield {
        "uuid": ids("plan"),
        "title": "Policies and calibrations that the verdicts name",
        "description": "Each is an entry of the same log where one is given.",
        "props": [
            *(prop("policy", use.source_id) for use in report.policies.items),
            *(prop("calibration", use.source_id) for use in report.calibrations.items),
            prop("num-policies", str(report.policies.total)),
            prop("num-calibrations", str(report.calibrations.total)),
        ],
    }
    for kind, listing in (("policy", report.policies), ("calibration", report.calibrations)):
        for use in listing.items:
            if use.log_index is not None and use.digest is not None:
                yield _source(report, kind, use, use.log_index, use.digest, ids)


def _source(
    report: Report, kind: str, use: SourceUse, log_index: int, digest: str, ids: Ids
) -> JsonMembers:
    link: JsonMembers = {"href": entry_uri(report.log.origin, log_index)}
    stated = _SHA256.fullmatch(digest)
    if stated is not None:
        link["hashes"] = [{"algorithm": "SHA-256", "value": stated.group(1)}]
    return {
        "uuid": ids(kind, use.source_id),
        "title": one_line(f"{kind} {use.source_id}"),
        "rlinks": [link],
    }
