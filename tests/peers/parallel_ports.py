#!/usr/bin/env python3
"""A measurement, not a check: many boards in their ROM programmed at once over as many serial ports.

One process of simulated boards, paced at 115200 baud in real time, and one `panelflash rom write` for each port. Says how
much longer all take than one, and how much of one core the programs on the host's side use together; the simulated
boards' own share is told beside it and not counted. A busy machine disturbs it.

    cargo build --release && tests/peers/parallel_ports.py --panelflash target/release/panelflash
"""

import argparse
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def write_all(panelflash, image, ports):
    """Wall time until the last is done, each one's own wall time, and processor time of all, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    command = [panelflash, "rom", "write", image, "--address", "0x08000000", "--port"]
    running = [subprocess.Popen([*command, port], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for port in ports]
    for port, process in zip(ports, running):
        _, said = process.communicate(timeout=600)
        if process.returncode != 0:
            sys.exit(f"{port}: exit code {process.returncode}: {said.decode(errors='replace')[-300:]}")
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panelflash", required=True, metavar="PATH")
    parser.add_argument("--ports", type=int, default=21, metavar="N")
    parser.add_argument("--bytes", type=int, default=65536, metavar="N", help="size of the image, none of it blank")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="how often; medians are told")
    options = parser.parse_args()

    command = [options.panelflash, "sim", "rom", "--uart", str(options.ports), "--device", "F405"]
    boards = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ports = [boards.stdout.readline().strip() for _ in range(options.ports)]
        with tempfile.NamedTemporaryFile(suffix=".bin") as image:
            image.write(random.Random(1).randbytes(options.bytes))
            image.flush()
            alone, together, shares, simulated = [], [], [], []
            for turn in range(options.turns):
                one, _ = write_all(options.panelflash, image.name, ports[:1])
                boards_before = processor_seconds(boards.pid)
                wall, processor = write_all(options.panelflash, image.name, ports)
                alone.append(one)
                together.append(wall)
                shares.append(processor / wall)
                simulated.append((processor_seconds(boards.pid) - boards_before) / wall)
                print(
                    f"turn {turn + 1}: one port {one:.2f} s, {options.ports} ports {wall:.2f} s, "
                    f"host {100 * shares[-1]:.1f} % of a core, simulated boards {100 * simulated[-1]:.1f} %",
                    flush=True,
                )
    finally:
        boards.terminate()
        boards.wait()
    one, wall = statistics.median(alone), statistics.median(together)
    print(
        f"medians of {options.turns}: one port {one:.2f} s, {options.ports} ports {wall:.2f} s, ratio {wall / one:.3f}; "
        f"host {100 * statistics.median(shares):.1f} % of a core"
    )


if __name__ == "__main__":
    main()
