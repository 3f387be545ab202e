"""Wall seconds of `fairfield --help` as a fresh process: what a user waits before the first line.

python benchmarks/bench_start.py [--repeat N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    command = [sys.executable, "-c", "from fairfield.cli import main; main()", "--help"]
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    warm = seconds[1:]
    print("| command | median s | worst s |\n|---|--:|--:|")
    print(f"| fairfield --help | {statistics.median(warm):.3f} | {max(warm):.3f} |")


if __name__ == "__main__":
    main()
