"""What emollama costs, measured side by side in one run. python -m benchmarks --help."""
