#!/usr/bin/env bash
# Makes the virtual environment with the locked dependencies, and installs the system packages that it
# needs where they are missing and this is root on Debian. Quiet and idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

debian_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "missing: $*. Install them with your package manager (on Debian: apt-get install $*) and try again."
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

python_new_enough() {
    command -v python3 >/dev/null &&
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

missing=()
command -v git >/dev/null || missing+=(git ca-certificates)
python_new_enough || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] || debian_install "${missing[@]}"
python_new_enough || fail "Python 3.11 or newer is needed; python3 is $(python3 --version 2>&1)"

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    python3 -m venv .venv
fi
uv=$(sed -nE 's/^uv==([^ ;\\]+).*/\1/p' requirements.txt)
if ! .venv/bin/uv --version 2>/dev/null | grep -qF " $uv"; then
    say "fetching uv $uv"
    .venv/bin/python -m pip install -q --disable-pip-version-check "uv==$uv"
fi
say "installing the locked dependencies"
.venv/bin/uv pip sync -q --python .venv/bin/python --require-hashes requirements.txt
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps -e .
touch .venv/.synced
