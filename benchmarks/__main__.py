"""The command: `python -m benchmarks [name ...] [--quick] [--json] [--write]`."""

import argparse
import json
import sys
from dataclasses import asdict

from benchmarks import batch, report, rollup, single
from benchmarks.results import ORDER, Result, Unmeasurable, save

MEASURE = (single.measure, batch.measure, rollup.measure, report.measure)
BENCHMARKS = dict(zip(ORDER, MEASURE, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Heatfleet costs here.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(BENCHMARKS)}; all otherwise")
    parser.add_argument("--quick", action="store_true", help="about a second each: does it run at all? No figures")
    parser.add_argument("--json", action="store_true", help="print every round as JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="keep the results in results/ and in README.md")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; these exist: {', '.join(BENCHMARKS)}")
    if options.quick and options.write:
        parser.error("--quick is too short for figures worth keeping")
    results: dict[str, Result] = {}
    for name in options.names or BENCHMARKS:
        try:
            results[name] = BENCHMARKS[name](quick=options.quick)
        except Unmeasurable as error:
            print(f"benchmarks: {name}: {error}", file=sys.stderr)
            return 1
        if not options.json:
            print(results[name].markdown(), flush=True)
    if options.json:
        print(json.dumps({name: asdict(result) for name, result in results.items()}, indent=1))
    if options.write:
        print(f"benchmarks: written to {save(results)} and README.md", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
