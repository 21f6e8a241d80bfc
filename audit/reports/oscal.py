"""The report as OSCAL assessment results (JSON), for tools that collect such files.

One observation per provider and model, one per FAILED verdict up to a bound, and one each for the
record's completeness and the log's witnesses; one finding per provider and model against our own
objectives, never against a control: which controls the observations support evidence for stands
under `reviewed-controls`, and whether they are met is for the assessor. Source: OSCAL 1.2
assessment results model.
"""

import json
from typing import BinaryIO

from audit.reports.answer import Answer, answer
from audit.reports.controls import frameworks_of
from audit.reports.groups import Group, Tally, tally
from audit.reports.oscal_parts import (
    Ids,
    JsonMembers,
    JsonValue,
    evidence,
    one_line,
    prop,
    resources,
)
from audit.reports.records import Lines, Report, VerdictLine
from audit.reports.wording import count, counted, name, shown

MEDIA_TYPE = "application/oscal+json"
OSCAL_VERSION = "1.2.1"

MAX_FAILED_OBSERVATIONS = 100

#: Our own objectives, which findings are about.
RUNS_CLAIMED_MODEL = "inference-audit_runs-claimed-model"
RECORD_IS_COMPLETE = "inference-audit_record-is-complete"
LOG_IS_WITNESSED = "inference-audit_log-is-witnessed"


def render(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write the document as indented UTF-8 JSON."""
    document = assessment_results(report, tally(lines()))
    out.write(json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")


def assessment_results(report: Report, counts: Tally) -> JsonMembers:
    """Return the document's members."""
    ids = Ids(report)
    told = answer(report, counts)
    return {
        "assessment-results": {
            "uuid": ids("assessment-results"),
            "metadata": _metadata(report, ids),
            "import-ap": {
                "href": f"#{ids('plan')}",
                "remarks": "The plan is the policies and calibrations that the verdicts name.",
            },
            "results": [_result(report, counts, told, ids)],
            "back-matter": {"resources": list(resources(report, ids))},
        }
    }


def _metadata(report: Report, ids: Ids) -> JsonMembers:
    return {
        "title": "Inference integrity assessment results",
        "last-modified": report.as_of,
        "version": one_line(report.report_id),
        "oscal-version": OSCAL_VERSION,
        "roles": [{"id": "assessor", "title": "Operator of the inference audit"}],
        "parties": [
            {
                "uuid": ids("operator"),
                "type": "organization",
                "name": one_line(f"Operator of the log {report.log.origin}"),
            }
        ],
        "responsible-parties": [{"role-id": "assessor", "party-uuids": [ids("operator")]}],
        "props": [
            prop("report-form", report.form),
            prop("report-id", report.report_id),
            prop("log-origin", report.log.origin),
            prop("log-size", str(report.log.last.size)),
            prop("log-root-sha256", report.log.last.root),
            prop("trust-root-digest", report.log.trust_root_digest),
        ],
    }


def _result(report: Report, counts: Tally, told: Answer, ids: Ids) -> JsonMembers:
    scope = report.scope
    starts = [group.first_verified_at for group in counts.groups]
    return {
        "uuid": ids("result"),
        "title": "Replayed inference exchanges",
        "description": " ".join((told.headline, *told.sentences)),
        "start": scope.since or min(starts, default=report.as_of),
        "end": scope.until or report.as_of,
        "props": _count_props(report),
        "local-definitions": {
            "components": [_component(group, ids) for group in counts.groups]
            or [_component(None, ids)],
        },
        "reviewed-controls": _reviewed_controls(report),
        "observations": [
            *(_group_observation(report, group, ids) for group in counts.groups),
            *(_failed_observation(report, line, ids) for line in _first_failed(counts)),
            _completeness_observation(report, ids),
            _witness_observation(report, ids),
        ],
        "findings": [
            *(_group_finding(report, group, ids) for group in counts.groups),
            _completeness_finding(report, ids),
            _witness_finding(report, ids),
        ],
        "remarks": "A verdict is about one recorded exchange under the calibration that it names. "
        + " ".join(shown(statement) for statement in report.limits.statements),
    }


def _first_failed(counts: Tally) -> tuple[VerdictLine, ...]:
    return counts.failed[:MAX_FAILED_OBSERVATIONS]


def _count_props(report: Report) -> list[JsonValue]:
    totals = report.totals
    return [
        prop("first-index", str(report.scope.first_index)),
        prop("end-index", str(report.scope.end_index)),
        prop("num-verdicts", str(totals.num_verdicts)),
        prop("num-passed", str(totals.num_passed)),
        prop("num-failed", str(totals.num_failed)),
        prop("num-inconclusive", str(totals.num_inconclusive)),
        prop("num-missing", str(report.missing.total)),
        prop("num-erased", str(report.erased.total)),
        prop("num-gone", str(report.gone.total)),
        prop("num-damaged", str(report.damaged.total)),
        prop("num-discounted", str(report.discounted.total)),
        prop("num-sequence-gaps", str(report.gaps.total)),
    ]


def _reviewed_controls(report: Report) -> JsonMembers:
    selections: list[JsonValue] = [
        {
            "description": f"{framework.name}: {framework.source}, {framework.source_version}. "
            f"{framework.basis}",
            "include-controls": [
                {"control-id": control.oscal_id} for control in framework.controls
            ],
        }
        for framework in frameworks_of(report.control_mapping)
    ]
    return {
        "description": "Controls that the observations support evidence for, by framework; the "
        "numbering and its basis are in each selection. No finding here is about a control.",
        # the model asks for at least one selection
        "control-selections": selections
        or [{"include-controls": [{"control-id": RUNS_CLAIMED_MODEL}]}],
    }


def _component(group: Group | None, ids: Ids) -> JsonMembers:
    title = "No provider in this window" if group is None else _group_title(group)
    return {
        "uuid": _component_id(group, ids),
        "type": "service",
        "title": title,
        "description": "Provider and model as the recorded exchanges claim them.",
        "status": {"state": "other", "remarks": "Not assessed: only its answers were."},
    }


def _component_id(group: Group | None, ids: Ids) -> str:
    return ids("component") if group is None else ids("component", *_group_parts(group))


def _group_parts(group: Group) -> tuple[str, str]:
    return json.dumps(group.key.provider), json.dumps([group.key.model, group.key.is_rest])


def _group_title(group: Group) -> str:
    if group.key.is_rest:
        return "All providers and models that are not listed"
    return one_line(f"{name(group.key.provider)}, {name(group.key.model)}")


def _group_observation(report: Report, group: Group, ids: Ids) -> JsonMembers:
    examples = {
        group.first_index: (group.first_digest, "first verdict"),
        group.last_index: (group.last_digest, "last verdict"),
    }
    for line in group.failed_examples:
        examples[line.log_index] = (line.entry_digest, "FAILED verdict")
    return {
        "uuid": ids("observation", *_group_parts(group)),
        "title": _group_title(group),
        "description": f"{counted(group.num_verdicts, 'exchange')} replayed: "
        f"{count(group.num_passed)} PASSED, {count(group.num_failed)} FAILED, "
        f"{count(group.num_inconclusive)} INCONCLUSIVE.",
        "props": [
            prop("num-verdicts", str(group.num_verdicts)),
            prop("num-passed", str(group.num_passed)),
            prop("num-failed", str(group.num_failed)),
            prop("num-inconclusive", str(group.num_inconclusive)),
            prop("num-tokens", str(group.num_tokens)),
            prop("accumulated-verdict", "FAILED" if group.is_provider_failed else "not FAILED"),
        ],
        "methods": ["TEST"],
        "types": ["finding"],
        "subjects": [{"subject-uuid": _component_id(group, ids), "type": "component"}],
        "relevant-evidence": [
            evidence(report, index, digest, what)
            for index, (digest, what) in sorted(examples.items())
        ],
        "collected": group.last_verified_at,
    }


def _failed_observation(report: Report, line: VerdictLine, ids: Ids) -> JsonMembers:
    return {
        "uuid": ids("failed", str(line.log_index)),
        "title": one_line(f"FAILED verdict at log entry {line.log_index}"),
        "description": shown(" ".join(line.details)) or "The verdict states no detail.",
        "props": [
            prop("audit-id", line.audit_id),
            prop("exchange-digest", line.exchange_digest),
            *(prop("reason", reason) for reason in line.reasons),
        ],
        "methods": ["TEST"],
        "types": ["finding"],
        "relevant-evidence": [
            evidence(report, line.log_index, line.entry_digest, "FAILED verdict")
        ],
        "collected": line.verified_at,
    }


def _completeness_observation(report: Report, ids: Ids) -> JsonMembers:
    entries = [
        evidence(report, intent.log_index, intent.entry_digest, "intent without a verdict")
        for intent in report.missing.items[:MAX_FAILED_OBSERVATIONS]
    ] + [
        evidence(report, entry.log_index, entry.entry_digest, "damaged entry")
        for entry in report.damaged.items[:MAX_FAILED_OBSERVATIONS]
    ]
    entries += [
        evidence(report, entry.log_index, entry.entry_digest, "discounted entry")
        for entry in report.discounted.items[:MAX_FAILED_OBSERVATIONS]
    ]
    observation: JsonMembers = {
        "uuid": ids("observation", "completeness"),
        "title": "Completeness of the record",
        "description": f"{counted(report.totals.num_intents, 'announced audit')}; "
        f"{count(report.missing.total)} without a verdict (MISSING), "
        f"{count(report.damaged.total)} damaged, {count(report.discounted.total)} signed by a key "
        f"that does not count there, {count(report.gone.total)} gone without an "
        f"erasure, {count(report.erased.total)} erased on record, "
        f"{counted(report.gaps.total, 'gap')} in tenants' numbering.",
        "methods": ["TEST"],
        "collected": report.as_of,
    }
    if entries:
        observation["relevant-evidence"] = entries
    return observation


def _witness_observation(report: Report, ids: Ids) -> JsonMembers:
    log = report.log
    cosigned = [witness.name for witness in log.witnesses if witness.cosigned_at is not None]
    return {
        "uuid": ids("observation", "witnesses"),
        "title": "Witnesses of the last checkpoint",
        "description": f"{counted(len(cosigned), 'witness', 'witnesses')} cosigned size "
        f"{count(log.last.size)}; the rule is {shown(log.quorum)}.",
        "props": [prop("witness", witness) for witness in cosigned] or [prop("witness", "none")],
        "methods": ["TEST"],
        "collected": report.as_of,
    }


def _group_finding(report: Report, group: Group, ids: Ids) -> JsonMembers:
    has_failed = group.num_failed > 0 or group.is_provider_failed
    is_satisfied = not has_failed and group.num_passed > 0
    if has_failed:
        remarks = "Answers stray from the claimed model further than honest arithmetic explains."
    elif is_satisfied:
        remarks = "Every judged answer fits the claimed model, within the power of the audits."
    else:
        remarks = (
            "No answer could be judged; that is no sign of a deviation, and none of its absence."
        )
    return _finding(
        ids("finding", *_group_parts(group)),
        _group_title(group),
        RUNS_CLAIMED_MODEL,
        is_satisfied=is_satisfied,
        reason="fail" if has_failed else "pass" if is_satisfied else "other",
        remarks=remarks,
        observation=ids("observation", *_group_parts(group)),
    )


def _completeness_finding(report: Report, ids: Ids) -> JsonMembers:
    return _finding(
        ids("finding", "completeness"),
        "Completeness of the record",
        RECORD_IS_COMPLETE,
        is_satisfied=report.is_complete,
        reason="pass" if report.is_complete else "fail",
        remarks="Satisfied where nothing is missing, gone, damaged, discounted or out of sequence.",
        observation=ids("observation", "completeness"),
    )


def _witness_finding(report: Report, ids: Ids) -> JsonMembers:
    is_met = report.log.is_quorum_met
    return _finding(
        ids("finding", "witnesses"),
        "Witnesses of the last checkpoint",
        LOG_IS_WITNESSED,
        is_satisfied=is_met,
        reason="pass" if is_met else "fail",
        remarks="Satisfied where the quorum of the trust root's policy is met.",
        observation=ids("observation", "witnesses"),
    )


def _finding(
    finding_id: str,
    title: str,
    objective: str,
    *,
    is_satisfied: bool,
    reason: str,
    remarks: str,
    observation: str,
) -> JsonMembers:
    return {
        "uuid": finding_id,
        "title": title,
        "description": remarks,
        "target": {
            "type": "objective-id",
            "target-id": objective,
            "status": {
                "state": "satisfied" if is_satisfied else "not-satisfied",
                "reason": reason,
            },
        },
        "related-observations": [{"observation-uuid": observation}],
    }
