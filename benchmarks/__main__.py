"""The command: `python -m benchmarks [name ...] [--quick] [--json] [--write] ...`."""

import argparse
import json
import signal
import sys
from dataclasses import asdict

from benchmarks import batch, beside, bigquery, day, growth, publish, report, rollup, single, start
from benchmarks.options import Options
from benchmarks.results import Result, Unmeasurable, save

OWN = {
    "single": single.measure,
    "batch": batch.measure,
    "rollup": rollup.measure,
    "report": report.measure,
    "start": start.measure,
    "growth": growth.measure,
}
PEERS = {
    "peers-single": beside.measure_single,
    "peers-batch": beside.measure_batch,
    "peers-mixed": beside.measure_mixed,
}
GOOGLE = {
    "bigquery-single": bigquery.measure_single,
    "bigquery-batch": bigquery.measure_batch,
    "publish": publish.measure,
}
DAY = {"day": day.measure}
GROUPS = {"own": tuple(OWN), "peers": tuple(PEERS), "google": tuple(GOOGLE)}
BENCHMARKS = OWN | PEERS | GOOGLE | DAY


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Heatfleet costs here.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"some of: {', '.join(BENCHMARKS)}; `peers` and `google` are some too; without a name: {', '.join(OWN)}",
    )
    parser.add_argument("--quick", action="store_true", help="about a second each: does it run at all? No figures")
    parser.add_argument("--json", action="store_true", help="print every round as JSON instead of tables")
    parser.add_argument("--write", action="store_true", help="keep the results in results/ and in README.md")
    parser.add_argument("--devices", type=int, help="size of the fleet in rollup, start and day")
    parser.add_argument("--readings", type=int, help="size of the history in report and growth")
    parser.add_argument("--hours", type=int, default=24, help="length of the simulated day")
    parser.add_argument("--minutes", type=float, default=60, help="time that the simulated day may take")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--quick is too short for figures worth keeping")
    names = [one for name in options.names or ["own"] for one in GROUPS.get(name, (name,))]
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; these exist: {', '.join(BENCHMARKS)}")
    asked = Options(options.quick, options.devices, options.readings, options.hours, options.minutes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders are cleaned up
    results: dict[str, Result] = {}
    for name in names:
        try:
            results[name] = BENCHMARKS[name](asked)
        except Unmeasurable as error:
            print(f"benchmarks: {name}: {error}", file=sys.stderr)
            return 1
        if not options.json:
            print(results[name].markdown(), flush=True)
        if options.write:  # one by one: a long run that ends early keeps what it has
            print(f"benchmarks: {name} written to {save({name: results[name]})} and README.md", file=sys.stderr)
    if options.json:
        print(json.dumps({name: asdict(result) for name, result in results.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
