"""``python -m tests.fuzz``: the API under schemathesis for long; the exit code says whether anything was found."""

from __future__ import annotations

import argparse
import sys

from jobs import logs
from tests.fuzz.run import fuzz

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="least number of requests (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run (default: 1)")
    parser.add_argument("--examples", type=int, default=100, help="cases of one operation in a run (default: 100)")
    options = parser.parse_args()
    logs.configure("error")
    outcome = fuzz(
        options.requests, seed=options.seed, examples=options.examples, say=lambda line: print(line, flush=True)
    )
    if outcome.failed:
        print(outcome.output)
    print(outcome)
    sys.exit(1 if outcome.failed else 0)
