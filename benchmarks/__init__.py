"""Speed, each as a ratio to a plain reference inside one run: `python -m benchmarks`."""
