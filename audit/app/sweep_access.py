"""Which keys and hosts the sweeps of a service's clients may use."""

from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from audit.config import SweepSettings
from audit.errors import FieldViolation, InvalidRequest
from audit.sweep_records import Endpoint, SweepSpec


def check_access(spec: SweepSpec, settings: SweepSettings) -> None:
    """Raise InvalidRequest naming each endpoint whose key or host is not for clients."""
    found = []
    for number, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{number}]"
        if not _may_use_key(endpoint.key_ref, settings):
            found.append(FieldViolation(field=f"{path}.key_ref", description=_keys_of(settings)))
        if not _may_reach(endpoint, settings):
            found.append(
                FieldViolation(
                    field=f"{path}.base_url",
                    description=f"names a host that is none of: {settings.allowed_hosts}",
                )
            )
    if found:
        raise InvalidRequest(*found)


def _may_use_key(key_ref: str | None, settings: SweepSettings) -> bool:
    if key_ref is None:
        return True
    kind, _, place = key_ref.partition(":")
    if kind == "env":
        return place.startswith(settings.key_prefix)
    folder = settings.key_folder
    if folder is None:
        return False
    # resolved, so that neither dots nor links lead out of the folder
    return Path(place).resolve().is_relative_to(folder.resolve())


def _keys_of(settings: SweepSettings) -> str:
    files = "" if settings.key_folder is None else f", or file: in {settings.key_folder}"
    return f"may name env:{settings.key_prefix}...{files}; ask who runs the service for others"


def _may_reach(endpoint: Endpoint, settings: SweepSettings) -> bool:
    host = (urlsplit(endpoint.base_url).hostname or "").lower()
    return any(fnmatchcase(host, pattern.lower()) for pattern in settings.allowed_hosts.split())
