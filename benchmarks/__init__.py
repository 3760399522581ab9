"""What Heatfleet costs: `python -m benchmarks`, with servers and files of its own. README.md says how to read it."""
