#!/bin/sh
# Compile the lock files: for every Python from 3.11 on and every platform, with hashes, without naming a package index.
# The same package has the same version in all of them.
set -eu
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  .venv/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --custom-compile-command "make lock" --output-file "requirements/$out.txt" "$@"
}
compile lint pyproject.toml --group build --group test --group lint
compile test pyproject.toml --group build --group test --constraint requirements/lint.txt
compile browser pyproject.toml --group build --group test --group browser --constraint requirements/test.txt
# And what checks the API against its description.
compile api pyproject.toml --group build --group test --group api --constraint requirements/test.txt
compile runtime pyproject.toml --group build --constraint requirements/lint.txt
# What the image is made of: the services' packages alone; and what builds the wheel and Helm.
compile image pyproject.toml --constraint requirements/lint.txt
compile image-build --group build --group image --constraint requirements/lint.txt
# The oldest versions that pyproject.toml admits: what an installation beside other programs may end up with.
compile lowest pyproject.toml --resolution lowest-direct
# Programs that share nothing with Greenlight: uv itself, which compiles these files, among them.
compile tools --group tools
