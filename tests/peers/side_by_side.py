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


def traffic(simulator, device, commands):
    """What crosses the line of a board, unpaced, under each command: bytes either way, and how often the host had to
    wait for an answer before it could go on. Neither depends on how busy the machine is."""
    arguments = [simulator, "--uart", "1", "--device", device, "--unpaced", "--tally"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline().strip()
        for command in commands:
            timed([*command, port])
            _, tally = process.stderr.readline().split(": ")
            host, board, waits, _ = tally.split()
            yield int(host) + int(board), int(waits)
        process.terminate()


def count(check, simulator, stm32flash, panelflash, work):
    """The same jobs by bytes and answers waited for instead of by the clock. Where flash of the chip comes in sizes
    that matter for the plan, panelflash reads the size, so that nothing is erased for an image that does not fit."""
    size_read = (14, 3)
    cases = [
        ("F405", "dense", dense(), (0, 0)),
        ("L476", "dense", dense(), (0, 0)),
        ("F103", "dense", dense(), size_read),
        ("G431", "dense", dense(), size_read),
        ("F405", "a quarter blank", quarter_blank(), (-30000, -300)),
    ]
    for device, name, data, most in cases:
        with check(f"panelflash sends no more and waits no more often than stm32flash: {device}, {name}"):
            path = work / "traffic.bin"
            path.write_bytes(data)
            theirs = [stm32flash, "-b", "0", "-m", "8n1", "-w", str(path), "-v", "-S", f"{FLASH:#x}"]
            ours = [panelflash, "rom", "write", str(path), "--address", f"{FLASH:#x}", "--port"]
            their, our = traffic(simulator, device, [theirs, ours])
            said = f"panelflash {our[0]} bytes, {our[1]} answers; stm32flash {their[0]} bytes, {their[1]} answers"
            print(f"   {device}, {name}: {said}", flush=True)
            if our[0] > their[0] + most[0] or our[1] > their[1] + most[1]:
                raise AssertionError(said)


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
