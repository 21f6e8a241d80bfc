"""Rank files: known by digest, read once, refused where they are something else."""

import base64
import builtins
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from audit.errors import ConfigurationError
from audit.hidden_tokens.facts import VocabularyFacts, load_facts
from audit.hidden_tokens.vocabularies import UncountableText, Vocabularies
from tests.support.vocabularies import vocabulary_folder

BYTES = [bytes([i]) for i in range(256)]
RANKS = b"\n".join(
    b"%s %d" % (base64.b64encode(token), rank) for rank, token in enumerate([*BYTES, b"aa"])
)


def facts_for(content: bytes) -> VocabularyFacts:
    return VocabularyFacts(
        name="made-up",
        file_names=("first.tiktoken", "second.tiktoken"),
        sha256=hashlib.sha256(content).hexdigest(),
        split_pattern=r"\w+|\W+",
        source="made up",
        date="2026-01-01",
        num_rows=0,
    )


def test_text_is_counted_by_the_rank_file(tmp_path: Path) -> None:
    (tmp_path / "second.tiktoken").write_bytes(RANKS)
    counter = Vocabularies(tmp_path, (facts_for(RANKS),))
    assert counter.count("made-up", "") == 0
    assert counter.count("made-up", "aaab") == 3
    assert counter.count("made-up", "<|endoftext|>") == 13


def test_no_file_counts_nothing(tmp_path: Path) -> None:
    assert Vocabularies(tmp_path, (facts_for(RANKS),)).count("made-up", "a") is None


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no vocabulary is called x: .* made-up"):
        Vocabularies(tmp_path, (facts_for(RANKS),)).count("x", "a")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "first.tiktoken").write_bytes(RANKS + b"\n")
    with pytest.raises(ConfigurationError, match="is not the vocabulary made-up: its SHA-256 is"):
        Vocabularies(tmp_path, (facts_for(RANKS),)).count("made-up", "a")


@pytest.mark.parametrize("content", [b"only-one-column", b"YQ== x", b"*** 1"])
def test_what_is_no_rank_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "first.tiktoken").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"first\.tiktoken is no rank file"):
        Vocabularies(tmp_path, (facts_for(content),)).count("made-up", "a")


def test_without_tiktoken_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.tiktoken").write_bytes(RANKS)
    real_import = builtins.__import__

    def without_tiktoken(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> object:
        if name == "tiktoken":
            raise ImportError(name)
        return real_import(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_tiktoken)
    with pytest.raises(ConfigurationError, match=r"install inference-audit\[tokens\]"):
        Vocabularies(tmp_path, (facts_for(RANKS),)).count("made-up", "a")


@pytest.mark.parametrize("name", ["o200k_base", "qwen"])
def test_texts_that_would_bring_the_tokenizer_down_are_refused(name: str) -> None:
    counter = Vocabularies(vocabulary_folder(name), load_facts().vocabularies)
    with pytest.raises(UncountableText, match="10,000 blanks"):
        counter.count(name, "x" + "\n" * 10_000)
    with pytest.raises(UncountableText, match="longer than 2,000,000"):
        counter.count(name, "ab" * 1_000_001)
    # the longest runs that are let through
    for text in (" " * 9_999, "\r\n" * 4_999, "a" * 50_000, "!" * 50_000, "\u0301" * 50_000):
        assert (counter.count(name, text) or 0) > 0
