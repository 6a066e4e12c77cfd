"""panelflash and stm32flash side by side: the same simulated board, paced at 115200 baud in real time, the same
64 KiB, each with erase, write and verify. `check.py` runs this; what is compared is the time on the wall clock,
start and end of the program included: the medians of several turns taken alternately, because a busy machine wakes
either program late now and then."""

import random
import statistics
import subprocess
import time

FLASH = 0x08000000
LENGTH = 65536
BLOCK = 256


def dense():
    """No block is blank."""
    return random.Random(1).randbytes(LENGTH)


def quarter_blank():
    """Of every four KiB the last is blank, as padding between parts of a real image is."""
    data = bytearray(dense())
    for start in range(3 * 1024, LENGTH, 4 * 1024):
        data[start : start + 1024] = b"\xff" * 1024
    return bytes(data)


def timed(command):
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}: {(done.stdout + done.stderr)[-300:]}")
    return seconds


def compare(board, stm32flash, panelflash, data, more, path, turns):
    """Seconds that each program takes for the same job on the same board, turn by turn; the board is reset between
    them."""
    path.write_bytes(data)
    image = [str(path), "--address", f"{FLASH:#x}"]
    ours, theirs = [], []
    with board("F405") as port:
        for _ in range(turns):
            theirs.append(timed([stm32flash, "-b", "0", "-m", "8n1", "-w", str(path), "-v", "-S", f"{FLASH:#x}", port]))
            ours.append(timed([panelflash, "rom", "write", *image, "--port", port, *more]))
        timed([panelflash, "rom", "verify", *image, "--port", port])
    return ours, theirs


def run(check, board, stm32flash, panelflash, work, turns):
    """The checks; `check` and `board` are those of check.py."""
    cases = [
        ("a quarter blank", quarter_blank(), [], 0.85),
        # The same bytes cross the wire, but for those with which each begins.
        ("dense", dense(), [], 1.00),
        ("dense, supply voltage stated", dense(), ["--voltage", "3.3"], 0.95),
    ]
    for name, data, more, most in cases:
        with check(f"panelflash takes at most {most:.2f} of stm32flash's time for 64 KiB, {name}"):
            ours, theirs = compare(board, stm32flash, panelflash, data, more, work / "side-by-side.bin", turns)
            medians = statistics.median(ours), statistics.median(theirs)
            ratio = medians[0] / medians[1]
            said = (
                f"panelflash {medians[0]:.2f} s (least {min(ours):.2f}), "
                f"stm32flash {medians[1]:.2f} s (least {min(theirs):.2f}), "
                f"ratio of medians {ratio:.3f}, of least {min(ours) / min(theirs):.3f}, {turns} turns"
            )
            print(f"   {name}: {said}", flush=True)
            if ratio > most:
                raise AssertionError(said)
