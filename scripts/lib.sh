# Sets up what the scripts need: Python, a pinned uv in .tools, the environment in .venv, redis-server.
# Sourced, never run. Every step is safe to repeat, says what it does in one line, and is skipped once done.
# shellcheck shell=bash

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TOOLS="$ROOT/.tools"
VENV="$ROOT/.venv"
UV_VERSION=0.13.9

export UV_PYTHON_DOWNLOADS=never
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
export UV_PROJECT_ENVIRONMENT="$VENV"
unset VIRTUAL_ENV
# The tests start hundreds of processes: without compiled modules each would compile all it imports.
unset PYTHONDONTWRITEBYTECODE

say() { printf '» %s\n' "$*" >&2; }

give_up() {
  printf '✗ %s\n' "$@" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

apt_install() {
  command -v apt-get >/dev/null || return 1
  say "installing $* with apt-get"
  as_root apt-get update -qq >/dev/null </dev/null || return 1
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python; do
    if command -v "$name" >/dev/null && is_new_enough "$name"; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  give_up "Python 3.11 or newer was not found." "Install it (Debian 12: apt-get install python3; macOS: brew install python) or name one: PYTHON=/path/to/python3."
}

hash_of() { "$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

ensure_uv() {
  UV="$TOOLS/uv/bin/uv"
  if [ "$("$UV" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ]; then return; fi
  if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv || give_up "Python's venv module is missing." "Install it (Debian, Ubuntu: apt-get install python3-venv) and run this again."
  fi
  say "installing uv $UV_VERSION into .tools"
  rm -rf "$TOOLS/uv"
  "$PYTHON" -m venv "$TOOLS/uv"
  "$TOOLS/uv/bin/python" -m pip install -qq --disable-pip-version-check "uv==$UV_VERSION" </dev/null
}

# ensure_env KIND UV-SYNC-ARGUMENTS…: bring .venv to what uv.lock says, once per KIND and state of the lock.
ensure_env() {
  local kind="$1" stamp want
  shift
  PYTHON="$(find_python)"
  stamp="$VENV/.ready-$kind"
  want="$(cat "$ROOT/uv.lock" "$ROOT/pyproject.toml" <(printf '%s\n' "$PYTHON" "$ROOT" "$@") | hash_of)"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return; fi
  ensure_uv
  say "installing the locked packages into .venv"
  "$UV" sync --quiet --project "$ROOT" --locked --inexact --python "$PYTHON" "$@" </dev/null
  printf '%s\n' "$want" >"$stamp"
}

ensure_dev_env() { ensure_env dev --all-extras --all-groups; }

ensure_demo_env() { ensure_env demo --no-dev --extra language --extra uvloop; }

ensure_redis() {
  if command -v redis-server >/dev/null; then return; fi
  apt_install redis-server && return
  if command -v brew >/dev/null; then
    say "installing redis with brew"
    brew install redis </dev/null && return
  fi
  give_up "redis-server is missing." "Install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis) and run this again."
}
