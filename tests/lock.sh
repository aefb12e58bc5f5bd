#!/bin/sh
# Compile the lock files: for every Python from 3.11 on and every platform, with hashes, without naming a package index.
set -eu
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --custom-compile-command "make lock" --output-file "requirements/$out.txt" pyproject.toml "$@"
}
compile runtime --group build
compile test --group build --group test
compile lint --group build --group test --group lint
