"""Faults injected into the running graph, each with its claim checked, and a soak. python -m tests.faults --help."""
