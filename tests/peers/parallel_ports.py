#!/usr/bin/env python3
"""A measurement, not a check: one `panelflash run` programs many blank boards at once, each over its own serial port.

One process of simulated boards (`sim panel`), paced at 115200 baud in real time on a pseudo-terminal for each slot, and
one `panelflash run` by the way `rom-uart`. Says how much longer all take than one, and how much of one core the run uses;
the simulated boards' own share is told beside it and not counted. A busy machine disturbs it.

    cargo build --release && tests/peers/parallel_ports.py --panelflash target/release/panelflash
"""

import argparse
import json
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PANEL = """name = "ports"
rows = 1
columns = {columns}
ways = ["rom-uart"]
port = "{place}/{{slot}}"
[fixture]
power = "sim:{place}/fixture#power-{{slot}}"
nrst = "sim:{place}/fixture#nrst-{{slot}}"
boot0 = "sim:{place}/fixture#boot0-{{slot}}"
"""

JOB = """name = "ports"
start_application = false
[target]
chip = "STM32F405"
device_id = 0x413
[[image]]
file = "image.bin"
address = 0x08000000
"""


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def run(panelflash, place, boards):
    """Time from power to the last verdict and of the whole program, share of a core of the run and of the boards."""
    place = pathlib.Path(place) / str(boards)
    place.mkdir(exist_ok=True)
    (place / "panel.toml").write_text(PANEL.format(columns=boards, place=place))
    (place / "job.toml").write_text(JOB)
    (place / "image.bin").write_bytes((place.parent / "image.bin").read_bytes())
    command = [panelflash, "sim", "panel", "--panel", place / "panel.toml"]
    far = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        while not (line := far.stdout.readline()).startswith("fixture"):
            if not line:
                sys.exit("the simulated panel did not start")
        boards_before, before = processor_seconds(far.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        command = [panelflash, "run", place / "job.toml", "--panel", place / "panel.toml", "--json"]
        done = subprocess.run([*command, "--records", place / "records"], capture_output=True, timeout=600)
        wall = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        simulated = processor_seconds(far.pid) - boards_before
    finally:
        far.terminate()
        far.wait()
    said = json.loads(done.stdout or "{}")
    if done.returncode != 0 or said.get("passed") != boards:
        sys.exit(f"{boards} boards: exit code {done.returncode}: {done.stderr.decode(errors='replace')[-600:]}")
    host = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return said["seconds"], wall, host / wall, simulated / wall


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panelflash", required=True, metavar="PATH", type=pathlib.Path)
    parser.add_argument("--ports", type=int, default=21, metavar="N")
    parser.add_argument("--bytes", type=int, default=65536, metavar="N", help="size of the image, none of it blank")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="how often; medians are told")
    options = parser.parse_args()
    panelflash = options.panelflash.resolve()

    alone, together, hosts = [], [], []
    with tempfile.TemporaryDirectory() as place:
        (pathlib.Path(place) / "image.bin").write_bytes(random.Random(1).randbytes(options.bytes))
        for turn in range(options.turns):
            one, _, _, _ = run(panelflash, place, 1)
            seconds, wall, host, simulated = run(panelflash, place, options.ports)
            alone.append(one)
            together.append(seconds)
            hosts.append(host)
            print(
                f"turn {turn + 1}: one board {one:.2f} s, {options.ports} boards {seconds:.2f} s "
                f"({wall:.2f} s with start and end of the program), host {100 * host:.1f} % of a core, "
                f"simulated boards {100 * simulated:.1f} %",
                flush=True,
            )
    one, seconds = statistics.median(alone), statistics.median(together)
    print(
        f"medians of {options.turns}: one board {one:.2f} s, {options.ports} boards {seconds:.2f} s, "
        f"ratio {seconds / one:.3f}; host {100 * statistics.median(hosts):.1f} % of a core"
    )


if __name__ == "__main__":
    main()
