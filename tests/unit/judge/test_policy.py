"""A policy is read as written, has an id that only values change, or is refused by name."""

import copy
import hashlib
import json
import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import ConfigurationError
from audit.findings import Disposition
from audit.judge.policy import (
    DEFAULT_PATH,
    EXPLANATIONS,
    FORMAT,
    MAX_FILE_BYTES,
    ROUNDED_COPIES,
    Policy,
    load_policy,
)
from reference_runner.precision import PRECISIONS
from reference_runner.rounding import ROUNDINGS

Content = dict[str, Any]


def content_of_default() -> Content:
    return tomllib.loads(DEFAULT_PATH.read_text(encoding="utf-8"))


def toml_of(content: Content, prefix: str = "") -> str:
    """Return TOML of a nested mapping; strings and lists are written as in JSON."""
    values = {k: v for k, v in content.items() if not isinstance(v, dict)}
    text = "".join(
        f"{json.dumps(key)} = {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in values.items()
    )
    for key, value in content.items():
        if isinstance(value, dict):
            path = f"{prefix}{json.dumps(key)}"
            text += f"[{path}]\n{toml_of(value, f'{path}.')}"
    return text


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "policy.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_policy(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text) < 1000
    return text


def digest(content: Content) -> str:
    return f"sha256:{hashlib.sha256(rfc8785.dumps(content)).hexdigest()}"


def test_the_default_says_what_it_promises() -> None:
    policy = load_policy(None)
    assert (policy.name, policy.version) == ("default", 1)
    assert policy.false_alarm_rate == 0.01
    assert policy.test_rate == pytest.approx(0.0075)
    assert policy.calibration_rate == pytest.approx(0.0025)
    assert policy.test_rate + policy.calibration_rate == pytest.approx(policy.false_alarm_rate)
    assert math.exp(policy.log_threshold_nats) == pytest.approx(1 / 0.0075)
    assert policy.tolerated_precisions == ()
    assert (policy.min_tokens, policy.min_variants) == (20, 2)
    assert (policy.max_noise_ratio, policy.max_blind_share) == (2.0, 0.5)
    assert (policy.power_target, policy.tell_rate) == (0.9, 0.02)
    detectors = (policy.has_conditional, policy.has_provider_stream)
    assert detectors == (policy.has_substituted_share, policy.has_routing) == (True, True)
    assert policy.diagnosis.is_enabled
    assert policy.diagnosis.max_tokens == 4096
    assert policy.diagnosis.rounded_copies == ROUNDED_COPIES


def test_the_default_calls_cheaper_copies_substitution() -> None:
    rules = load_policy(None).diagnosis
    assert {rules.disposition_of(kind) for kind in ROUNDED_COPIES} == {Disposition.SUBSTITUTION}
    assert rules.disposition_of("other_seed") is Disposition.MISCONFIGURED
    assert rules.disposition_of("unknown") is Disposition.UNKNOWN
    with pytest.raises(KeyError):
        rules.disposition_of("gremlins")


def test_every_line_of_the_default_is_explained() -> None:
    is_explained = False
    for line in DEFAULT_PATH.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            assert is_explained or "#" in line, f"not explained: {line}"
        is_explained = line.startswith("#")


def test_every_copy_that_can_be_tried_exists() -> None:
    assert set(ROUNDED_COPIES) <= set(ROUNDINGS)
    assert set(ROUNDED_COPIES) < set(EXPLANATIONS)


def test_the_id_is_the_digest_of_the_parsed_content() -> None:
    content = content_of_default()
    policy = load_policy(None)
    assert policy.policy_id == digest(content)
    assert policy.content() == content


def test_comments_spacing_and_order_leave_the_id_alone(tmp_path: Path) -> None:
    expected = load_policy(None).policy_id
    content = content_of_default()
    assert load_policy(written(tmp_path, toml_of(content))).policy_id == expected
    scalars = {k: v for k, v in content.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in content.items() if isinstance(v, dict)}
    turned = {**dict(reversed(scalars.items())), **dict(reversed(tables.items()))}
    text = "# mine\n\n" + toml_of(turned).replace(" = ", "   =\t").replace("\n", "  # why\r\n")
    assert load_policy(written(tmp_path, text)).policy_id == expected
    assert load_policy(written(tmp_path, b"\xef\xbb\xbf" + text.encode())).policy_id == expected


def test_any_other_value_changes_the_id(tmp_path: Path) -> None:
    policy = load_policy(None)
    stricter = replace(policy, false_alarm_rate=0.001)
    assert stricter.policy_id != policy.policy_id
    assert load_policy(written(tmp_path, toml_of(stricter.content()))) == stricter


def test_a_whole_number_serves_where_a_fraction_may_stand(tmp_path: Path) -> None:
    content = content_of_default()
    content["pass"]["max_blind_share"] = 1
    policy = load_policy(written(tmp_path, toml_of(content)))
    assert policy.max_blind_share == 1.0
    assert policy.policy_id == digest(content)


def test_precisions_are_accepted_if_claimed_or_tolerated() -> None:
    policy = replace(load_policy(None), tolerated_precisions=("float32",))
    assert policy.accepts_precision("bfloat16", claimed="bfloat16")
    assert policy.accepts_precision("float32", claimed="bfloat16")
    assert not policy.accepts_precision("float16", claimed="bfloat16")


SUBSETS = {
    name: st.lists(st.sampled_from(known), unique=True)
    for name, known in {"precisions": PRECISIONS, "copies": ROUNDED_COPIES}.items()
}


@st.composite
def contents(draw: st.DrawFn) -> Content:
    def number(lowest: float, highest: float) -> float:
        return draw(st.floats(lowest, highest))

    whole, flag = st.integers(1, 10**9), st.booleans()
    name = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=9)
    dispositions = st.sampled_from([str(d) for d in Disposition])
    return {
        "format": FORMAT,
        "name": draw(name),
        "version": draw(whole),
        "errors": {
            "false_alarm_rate": number(1e-9, 0.5),
            "calibration_share": number(0.01, 0.9),
        },
        "claim": {"tolerated_precisions": draw(SUBSETS["precisions"])},
        "pass": {
            "min_tokens": draw(whole),
            "min_variants": draw(whole),
            "max_noise_ratio": number(1e-6, 100.0),
            "max_blind_share": number(1e-6, 1.0),
        },
        "power": {"target": number(0.5, 0.999)},
        "detectors": {
            "conditional": True,
            "provider_stream": draw(flag),
            "substituted_share": draw(flag),
            "routing": draw(flag),
        },
        "provider": {"tell_rate": number(1e-6, 0.5)},
        "diagnosis": {
            "enabled": draw(flag),
            "max_tokens": draw(whole),
            "rounded_copies": draw(SUBSETS["copies"]),
            "dispositions": {explanation: draw(dispositions) for explanation in EXPLANATIONS},
        },
    }


@given(content=contents())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_policy_survives_its_file(
    content: Content, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text(toml_of(content), encoding="utf-8", newline="")
    policy = load_policy(path)
    assert policy.content() == content
    assert policy.policy_id == digest(content)
    assert policy.log_threshold_nats > 0
    path.write_text(toml_of(policy.content()), encoding="utf-8", newline="")
    assert load_policy(path) == policy


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("name", 5, "must be a line of text, found 5"),
        ("name", "  ", "must be a line of text"),
        ("name", "two\nlines", "must be a line of text"),
        ("name", "x" * 101, "101 characters; 100 are allowed"),
        ("version", 0, "must be a whole number from 1"),
        ("version", True, "found true"),
        ("version", 1.5, "found 1.5"),
        ("version", "1", 'found "1"'),
        ("version", 10**30, "a very large number"),
        ("errors", [], "must be a table, found a list"),
        ("errors.false_alarm_rate", 0, "must be a number from 1e-09 to 0.5, found 0"),
        ("errors.false_alarm_rate", 1.0, "must be a number from 1e-09 to 0.5, found 1.0"),
        ("errors.false_alarm_rate", -0.01, "must be a number"),
        ("errors.false_alarm_rate", "1 %", 'found "1 %"'),
        ("errors.false_alarm_rate", True, "found true"),
        ("errors.calibration_share", 1, "must be a number from 0.01 to 0.9"),
        ("claim.tolerated_precisions", "float32", "must be a list"),
        ("claim.tolerated_precisions", ["fp8"], 'found "fp8"'),
        ("claim.tolerated_precisions", [["float32"]], "found a list"),
        ("claim.tolerated_precisions", ["float32", "float32"], "twice"),
        ("pass.min_tokens", 0, "must be a whole number"),
        ("pass.min_variants", 2.0, "must be a whole number"),
        ("pass.max_noise_ratio", 0, "must be a number"),
        ("pass.max_blind_share", 1.01, "must be a number"),
        ("power.target", 0.4, "must be a number from 0.5 to 0.999"),
        ("power.target", 1, "must be a number from 0.5 to 0.999"),
        ("detectors.conditional", False, "must be true"),
        ("detectors.conditional", 1, "must be true or false, found 1"),
        ("detectors.routing", "yes", "must be true or false"),
        ("provider.tell_rate", 0.6, "must be a number"),
        ("diagnosis.enabled", "on", "must be true or false"),
        ("diagnosis.max_tokens", -1, "must be a whole number"),
        ("diagnosis.rounded_copies", ["int3"], 'found "int3"'),
        ("diagnosis.dispositions", "substitution", "must be a table"),
        ("diagnosis.dispositions.burst", "fine", "must be one of substitution, misconfigured"),
        ("diagnosis.dispositions.burst", 3, "must be one of"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(
    path: str, value: Any, says: str, tmp_path: Path
) -> None:
    content = content_of_default()
    *tables, key = path.split(".")
    table = content
    for name in tables:
        table = table[name]
    table[key] = value
    told = refusal(written(tmp_path, toml_of(content)))
    assert path in told
    assert says in told


def every_key(content: Content, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in content.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += every_key(value, (*prefix, key))
    return found


@pytest.mark.parametrize("path", every_key(content_of_default()), ids=".".join)
def test_every_line_has_to_stay(path: tuple[str, ...], tmp_path: Path) -> None:
    content = content_of_default()
    table = content
    for name in path[:-1]:
        table = table[name]
    del table[path[-1]]
    told = refusal(written(tmp_path, toml_of(content)))
    if path == ("format",):
        assert "is no policy" in told
    else:
        assert f"{'.'.join(path)} is missing" in told


TABLES: list[tuple[str, ...]] = [
    (),
    *((name,) for name, value in content_of_default().items() if isinstance(value, dict)),
    ("diagnosis", "dispositions"),
]


@pytest.mark.parametrize("table", TABLES, ids=".".join)
def test_an_unknown_key_is_refused_everywhere(table: tuple[str, ...], tmp_path: Path) -> None:
    content = copy.deepcopy(content_of_default())
    target = content
    for name in table:
        target = target[name]
    target["treshold"] = 1
    told = refusal(written(tmp_path, toml_of(content)))
    assert f"{'.'.join((*table, 'treshold'))} is not known here; known are: " in told


DEFAULT = DEFAULT_PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" \n\t\n", "is empty"),
        ('{"format": 1}', "is not valid TOML"),
        ("format = ", "is not valid TOML"),
        (DEFAULT.replace("version = 1", "version = 1\nversion = 2"), "is not valid TOML"),
        (DEFAULT.replace("version = 1", f"version = {'9' * 5000}"), "is not valid TOML"),
        (DEFAULT.replace("version = 1", f"version = 0x{'f' * 5000}"), "a very large number"),
        (DEFAULT.replace("version = 1", "version = 2026-01-01"), "a date or time"),
        (DEFAULT.replace("target = 0.9", "target = nan"), "power.target must be a number"),
        (DEFAULT.replace("target = 0.9", "target = inf"), "power.target must be a number"),
        (DEFAULT.replace("policy/v1", "policy/v2"), "is no policy"),
        ("x = 1", "is no policy"),
        (f"x = {'[' * 20000}", "nested too deeply"),
        (f"{DEFAULT}\n[{'a.' * 20000}a]\n", "is not known here"),
        (DEFAULT.replace("burst =", f"burst.{'a.' * 15000}a ="), "found a table"),
        (f"{DEFAULT}\n{'k' * 9000} = 1\n", "is not known here"),
        (f'{DEFAULT}\n"\\u001b[2Jmischief" = 1\n', "is not known here"),
        (b'name = "caf\xe9"', "is no UTF-8 text (byte 11); save it as UTF-8"),
        (DEFAULT.encode("utf-16"), "is no UTF-8 text"),
        (b"\x00" * 100, "is not valid TOML"),
        ("# so much to say\n" * (MAX_FILE_BYTES // 16), "is larger than any policy (64 KiB)"),
    ],
    ids=range(21),
)
def test_a_bad_file_is_refused_with_advice(text: str | bytes, says: str, tmp_path: Path) -> None:
    told = refusal(written(tmp_path, text))
    assert says in told
    assert told.isprintable()


def test_what_is_no_file_is_refused_with_advice(tmp_path: Path) -> None:
    assert "name a TOML file" in refusal(tmp_path)
    assert "name a TOML file" in refusal(tmp_path / "missing.toml")
    assert "larger than any policy" in refusal(Path("/dev/zero"))


@given(junk=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_junk_is_refused_without_a_traceback(
    junk: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.toml"
    path.write_bytes(junk)
    with pytest.raises(ConfigurationError):
        load_policy(path)


GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "policies.md"


def test_the_examples_of_the_guide_can_be_used(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    tolerant, strict = (
        load_policy(written(tmp_path, toml_of(merged(content_of_default(), tomllib.loads(text)))))
        for text in examples
    )
    found = tolerant.diagnosis.disposition_of("fp8-e4m3")
    assert found is Disposition.POLICY_DIFFERENT
    assert tolerant.diagnosis.disposition_of("int4-g32") is Disposition.SUBSTITUTION
    assert 1 / strict.test_rate == pytest.approx(1333, abs=1)


def merged(content: Content, changes: Content) -> Content:
    for key, value in changes.items():
        content[key] = merged(content[key], value) if isinstance(value, dict) else value
    return content


def test_a_policy_is_a_value() -> None:
    assert isinstance(load_policy(), Policy)
    assert load_policy() == load_policy(DEFAULT_PATH)
    assert hash(load_policy()) == hash(load_policy(DEFAULT_PATH))
