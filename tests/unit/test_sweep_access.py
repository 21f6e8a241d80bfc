"""A client's sweep uses the keys and hosts that a service gives to clients, and no others."""

from dataclasses import replace
from pathlib import Path

import pytest

from audit.app.sweep_access import check_access
from audit.config import SweepSettings
from audit.errors import InvalidRequest
from audit.sweep_records import SweepSpec
from tests.support.sweeps import example_spec


def with_endpoint(**changes: str | None) -> SweepSpec:
    spec = example_spec()
    return replace(spec, endpoints=(replace(spec.endpoints[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize("key_ref", [None, "env:SWEEP_KEY_A"])
def test_what_is_meant_for_clients_passes(key_ref: str | None) -> None:
    check_access(with_endpoint(key_ref=key_ref), SweepSettings())


@pytest.mark.parametrize(
    "key_ref",
    ["env:DATABASE_URL", "env:AWS_SECRET_ACCESS_KEY", "file:/etc/passwd", "file:keys/../../etc/x"],
)
def test_other_secrets_of_the_service_are_refused(key_ref: str, tmp_path: Path) -> None:
    settings = SweepSettings(key_folder=tmp_path / "keys")
    with pytest.raises(InvalidRequest, match=r"endpoints\[0\]\.key_ref.*SWEEP_KEY_"):
        check_access(with_endpoint(key_ref=key_ref), settings)


def test_files_are_refused_unless_a_folder_is_given(tmp_path: Path) -> None:
    ref = f"file:{tmp_path / 'keys' / 'host-a'}"
    with pytest.raises(InvalidRequest, match="key_ref"):
        check_access(with_endpoint(key_ref=ref), SweepSettings())
    check_access(with_endpoint(key_ref=ref), SweepSettings(key_folder=tmp_path / "keys"))


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "secret").write_text("s3cret", encoding="utf-8")
    (tmp_path / "keys" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRequest, match="key_ref"):
        check_access(
            with_endpoint(key_ref=f"file:{tmp_path / 'keys' / 'link'}"),
            SweepSettings(key_folder=tmp_path / "keys"),
        )


def test_hosts_may_be_limited() -> None:
    settings = SweepSettings(allowed_hosts="*.example api.other.test")
    for url in ("https://gateway.example/v1", "https://API.other.test/v1"):
        check_access(with_endpoint(base_url=url, key_ref=None), settings)
    for url in ("http://169.254.169.254/v1", "http://localhost:8000/v1", "https://example/v1"):
        with pytest.raises(InvalidRequest, match=r"endpoints\[0\]\.base_url"):
            check_access(with_endpoint(base_url=url, key_ref=None), settings)
