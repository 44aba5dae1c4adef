#!/bin/sh
# Writes requirements/dev.txt, service.txt, bench.txt and docs.txt from the dependency ranges of both distributions.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# torch has a file of its own, and the client is installed from this tree: neither belongs in a hashed file.
printf 'torch ; python_version < "3"\nfqt-client ; python_version < "3"\n' > "$work/overrides.txt"

compile() {
    output=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 \
        --universal --no-build --overrides "$work/overrides.txt" "$@" --output-file "$work/out.txt"
    { printf '# Written by requirements/lock.sh (make lock).\n'; cat "$work/out.txt"; } > "$output"
}

projects="pyproject.toml client/pyproject.toml"
compile requirements/dev.txt --group build --group torch --group test --group check --group cuda $projects
compile requirements/service.txt --group build --group torch --constraint requirements/dev.txt $projects
compile requirements/bench.txt --group bench --constraint requirements/dev.txt
compile requirements/docs.txt --group docs --constraint requirements/dev.txt --constraint requirements/bench.txt
