#!/bin/sh
# Makes .venv from the lock, once for each state of pyproject.toml and constraints.txt.  One line says what is missing.
set -eu
cd "$(dirname "$0")/.."

# Before 3.11.5, re matches possessive quantifiers wrongly: printed numbers would be misread.
suits() { "$1" -c 'import sys; sys.exit(not (3, 11, 5) <= sys.version_info[:3] < (3, 13))' 2>/dev/null; }
python=
for candidate in python3.11 python3.12 python3; do
  if suits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "parallax: Python 3.11.5 to 3.12 is missing (Debian 12 has 3.11.2); conda: conda env create -f environment.yml && conda activate parallax; uv: uv python install 3.12; then again" >&2
  exit 1
fi

packages=
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages $python-venv"
command -v g++ >/dev/null || packages="$packages g++"
command -v bwrap >/dev/null || packages="$packages bubblewrap"
if [ -n "$packages" ]; then
  echo "parallax: missing system packages; on Debian or Ubuntu: sudo apt-get install$packages" >&2
  exit 1
fi

stamp=$(cat pyproject.toml constraints.txt | cksum)
if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "parallax: making .venv from constraints.txt (about 2 GB, a few minutes)"
begun=$(date +%s)
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt -e '.[dask,modal,test]'
# Bytecode of what the notebooks import, once, also where the environment keeps Python from writing any: each kernel would compile it anew.
env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c '
import importlib, pkgutil
import ipykernel.kernelapp, papermill, peft, transformers.models.llama.modeling_llama
import parallax_lib
for module in pkgutil.walk_packages(parallax_lib.__path__, "parallax_lib."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)'
printf '%s' "$stamp" >.venv/stamp
echo "parallax: .venv ready after $(($(date +%s) - begun)) s"
