"""Usage: help for all, and errors that exit 64 with advice instead of a traceback."""

import pytest
import typer

from audit.cli.root import app
from tests.support.example_model import MODEL
from tests.unit.cli.command import run

COMMANDS = (
    "serve",
    "submit",
    "check",
    "calibrate",
    "show",
    "list",
    "providers",
    "policy",
    "diagnose",
    "verify",
    "log",
    "upkeep",
    "report",
    "tokens",
    "sweep",
    "keys",
    "witness",
    "profiles",
    "demo",
)


def test_the_commands_keep_their_names() -> None:
    group = typer.main.get_command(app)
    assert set(getattr(group, "commands", {})) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    assert f"inference-audit {command}" in done.stdout
    assert "--help" in done.stdout


def test_the_help_names_commands_and_exit_codes() -> None:
    done = run("--help")
    assert done.code == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert "Exit codes: 0 all PASS" in done.stdout


def test_no_command_at_all_is_answered_with_the_help() -> None:
    done = run()
    assert done.code == 64
    assert "Usage: inference-audit" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("judge", "No such command 'judge'"),
        ("--nope", "No such option: --nope"),
        ("check", "Missing option '--model'"),
        ("check --model .", "Missing option '--traffic'"),
        ("check --model . --traffic t --threads many", "--threads"),
        ("check --model . --traffic t --threads 0", "--threads"),
        ("calibrate --model . --traffic t", "Missing option '--out'"),
        ("calibrate --model . --traffic t --out o --false-alarm-rate high", "--false-alarm-rate"),
        ("submit", "Missing option '--traffic'"),
        ("show", "Missing argument"),
        ("list --outcome perhaps", "--outcome"),
        ("list --limit 0", "--limit"),
        ("providers everything", "unexpected extra argument"),
        ("verify", "Missing"),
        (f"verify {__file__}", "either --trust-root, to check a bundle, or --key"),
        ("upkeep erase", "Missing option '--before'"),
        ("upkeep erase --before monday", "is no RFC 3339 time"),
        ("upkeep erase --before 2026-01-01T00:00:00", "must be in UTC"),
        ("keys revoke", "Missing argument"),
        ("witness serve", "Missing option"),
        ("serve", "Missing option '--model'"),
        ("demo --per-file 0", "--per-file"),
    ],
)
def test_wrong_usage_exits_64_and_says_what_is_wrong(arguments: str, says: str) -> None:
    done = run(*arguments.split())
    assert (done.code, done.stdout) == (64, "")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--listen", "nonsense"), "give host:port"),
        (("--listen", "0.0.0.0:0"), "not encrypted"),
        (("--database", "mysql://x/y"), "sqlite:////absolute/path"),
        (("--database", "sqlite://"), "needs a plain file"),
        (("--profile", "vllm-v9-quantum"), "known are: greedy"),
    ],
)
def test_serve_refuses_wrong_settings(
    options: tuple[str, str], says: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("serve")
    places = ("--key", folder / "key.pem", "--database", f"sqlite:///{folder / 'a.db'}")
    done = run("serve", "--json", "--model", MODEL, *places, *options)
    assert (done.code, done.stdout) == (64, "")
    assert says in done.stderr
