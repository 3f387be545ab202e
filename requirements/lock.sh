#!/bin/sh
# Re-resolve the lock files (needs uv). One universal lock serves Python 3.11 to 3.13; no index address is written.
set -eu
cd "$(dirname "$0")/.."
common="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate"
uv pip compile $common --extra dev pyproject.toml requirements/build.in -o requirements/dev.lock
uv pip compile $common -c requirements/dev.lock pyproject.toml requirements/build.in -o requirements/runtime.lock
