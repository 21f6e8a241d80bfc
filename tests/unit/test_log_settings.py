"""The settings file of the verdict log: every key, and every way to get one wrong."""

from dataclasses import fields
from pathlib import Path

import pytest

from audit.config import LogSettings, load_log_settings
from audit.errors import ConfigurationError

EVERYTHING = """
origin = "log2026-1.verdicts.example.org"
key_path = "keys/log.pem"
anchor_path = "/mnt/other/anchor"
is_post_quantum = true
tenant = "acme"
retention_days = 365
signer = "hsm:2?label=verdicts"
signer_public_key = "verdicts.pub"
signer_secret = "pin"
witness_policy = "witnesses.txt"
timestamp_authority = "http://tsa.example.org"
timestamp_chain = "tsa.pem"
publish_interval_s = 5
timestamp_interval_s = 60.5
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "log.toml"
    path.write_text(text)
    return path


def test_no_file_means_the_defaults() -> None:
    assert load_log_settings(None) == LogSettings()


def test_every_setting_can_be_set_and_paths_lie_beside_the_file(tmp_path: Path) -> None:
    found = load_log_settings(written(tmp_path, EVERYTHING))
    unset = [
        f.name for f in fields(found) if getattr(found, f.name) == getattr(LogSettings(), f.name)
    ]
    assert unset == []
    assert found.key_path == tmp_path / "keys/log.pem"
    assert found.anchor_path == Path("/mnt/other/anchor")
    assert (found.publish_interval_s, found.retention_days) == (5.0, 365)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("orgin = 'x'", "there is no setting 'orgin'; known are: anchor_path,"),
        ("origin = 3", "origin must be of kind str"),
        ("key_path = 3", "key_path must be of kind Path"),
        ("is_post_quantum = 1", "is_post_quantum must be of kind bool"),
        ("retention_days = true", "retention_days must be of kind int"),
        ("retention_days = 0", "retention_days must be above 0"),
        ("retention_days = 1.5", "retention_days must be of kind int"),
        ("publish_interval_s = -1", "publish_interval_s must be above 0"),
        ("publish_interval_s = 'often'", "publish_interval_s must be of kind float"),
        ("origin = ", "cannot read the log settings"),
        ("[origin]\nx = 1", "origin must be of kind str"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_log_settings(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_log_settings(tmp_path / "none.toml")
