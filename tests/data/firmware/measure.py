#!/usr/bin/env python3
"""Prints size, blank runs and entropy per section of an image: measure.py BIN ADDRESS ELF SIZE_PROGRAM."""
import math
import subprocess
import sys

path, address, elf, size = sys.argv[1:5]
data, base = open(path, "rb").read(), int(address, 0)


def entropy(block):
    counts = [block.count(b) for b in range(256)]
    return -sum(c / len(block) * math.log2(c / len(block)) for c in counts if c) if block else 0.0


def blank(unit):
    units = [data[i:i + unit] for i in range(0, len(data), unit)]
    flags = [set(u) == {0xFF} for u in units]
    runs = sum(1 for i, f in enumerate(flags) if f and (i == 0 or not flags[i - 1]))
    return sum(len(u) for u, f in zip(units, flags) if f), runs


print(f"{path.rsplit('/', 1)[-1]}: {len(data)} bytes at {base:#010x}, entropy {entropy(data):.2f} bit/byte")
for unit in (8, 256, 1024):
    total, runs = blank(unit)
    print(f"  blank in units of {unit}: {total} bytes ({100 * total / len(data):.1f} %) in {runs} runs")
for line in subprocess.run([size, "-A", elf], capture_output=True, text=True, check=True).stdout.splitlines():
    fields = line.split()
    if len(fields) == 3 and fields[0].startswith(".") and fields[1] != "0" and base <= int(fields[2]) < base + len(data):
        start, length = int(fields[2]) - base, int(fields[1])
        print(f"  {fields[0]:15} {base + start:#010x} {length:7} bytes, entropy {entropy(data[start:start + length]):.2f}")
