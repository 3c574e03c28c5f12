#!/bin/sh
# Makes .venv with the packages of the given requirements file, unless it is up to date.
# Usage: scripts/environment.sh REQUIREMENTS
set -eu
requirements=$1
cd "$(dirname "$0")/.."

say() { echo "==> $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian's own packages, where we may install them; otherwise what to do.
need() {
    program=$1; shift
    if have "$program"; then return; fi
    if [ "$(id -u)" = 0 ] && have apt-get; then
        say "Installing $* (Debian)"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "Rivetr needs '$program', which is not on this machine: install it, then run this again." >&2
        exit 1
    fi
}

# A Python of 3.11 or newer that can make virtual environments.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if have "$candidate" && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

need git git ca-certificates
python=$(find_python)
if [ -z "$python" ]; then
    if [ "$(id -u)" = 0 ] && have apt-get; then
        say "Installing Python (Debian)"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
    fi
    python=$(find_python)
    [ -n "$python" ] || { echo "Rivetr needs Python 3.11 or newer with its venv module (Debian: python3-venv)." >&2; exit 1; }
fi

wanted=$(cat requirements.txt "$requirements" "$0" | sha256sum | cut -d' ' -f1)
stamp=.venv/rivetr-$(basename "$requirements").stamp
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    [ -x .venv/bin/python ] || { say "Making .venv"; "$python" -m venv .venv; }
    say "Installing $requirements"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements"
    # pip leaves bytecode for plain Python only; `rivetr up` runs without docstrings (-OO).
    # Some packages carry templates that are no Python; those alone fail, and nobody imports them.
    .venv/bin/python -m compileall -qq -j 0 -o 2 .venv/lib || true
    echo "$wanted" >"$stamp"
fi
# Ours again each time: compileall skips what has not changed.
.venv/bin/python -m compileall -q -o 0 -o 2 app.py rivetr proxy
