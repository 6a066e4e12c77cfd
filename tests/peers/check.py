"""Independent hosts against the simulated ROMs; see `run`, which starts this.

Every check is one line, `ok NAME` or `FAILED NAME: why`. A check that follows a failed one on the same board
still runs: each opens a connection of its own, as separate calls of a tool would.
"""

import argparse
import contextlib
import io
import os
import pathlib
import subprocess
import sys
import threading
import time

import side_by_side

FLASH = 0x08000000

# What the boards are given: real firmware (its own address does not matter here), cut to the flash or to what
# is quick enough. Devices that stm32flash 0.7 of Debian knows.
FLASH_BOARDS = [
    # device, product ID, image, bytes
    ("F405", 0x413, "demo-f405-256k.bin", 262144),
    ("F103", 0x410, "small-f103-64k.bin", 65536),
    ("F103HD", 0x414, "small-f103-64k.bin", 65536),
    ("F072", 0x448, "small-f103-64k.bin", 65536),
    ("F746", 0x449, "bench-64k.bin", 65536),
    ("G431", 0x468, "small-g431-64k.bin", 65536),
    ("G031", 0x466, "small-g431-64k.bin", 65536),
    ("L053", 0x417, "small-g431-64k.bin", 65536),
    ("L152", 0x437, "small-g431-64k.bin", 65536),
    ("L476", 0x415, "small-g431-64k.bin", 65536),
]
LOADER_BOARDS = [
    # device, product ID, image, bytes, stm32loader's family
    ("F405", 0x413, "bench-64k.bin", 65536, "F4"),
    ("F103", 0x410, "small-f103-64k.bin", 65536, "F1"),
    ("G431", 0x468, "small-g431-64k.bin", 65536, None),
    ("L053", 0x417, "small-g431-64k.bin", 65536, "L0"),
]
CAN_BOARDS = [
    # device, product ID, image, bytes, pages that image covers
    ("F405", 0x413, "bench-64k.bin", 32768, range(2)),
    ("F107", 0x418, "small-f103-64k.bin", 16384, range(8)),
    ("L476", 0x415, "small-g431-64k.bin", 16384, range(8)),
]

passed = failed = 0
options = None


@contextlib.contextmanager
def check(name):
    """One check: its block must end without an exception."""
    global passed, failed
    try:
        yield
    except BaseException as error:  # a peer may also exit
        if isinstance(error, KeyboardInterrupt):
            raise
        failed += 1
        why = " ".join(str(error).split()) or type(error).__name__
        print(f"FAILED {name}: {why[:400]}", flush=True)
    else:
        passed += 1
        print(f"ok {name}", flush=True)


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def image(name, length):
    data = (pathlib.Path(options.firmware) / name).read_bytes()[:length]
    expect(len(data) == length, f"{name} has {len(data)} bytes, not {length}")
    return data


@contextlib.contextmanager
def serial_board(device, *more):
    """A simulated board on a pseudo-terminal; gives the port's path."""
    command = [options.simulator, "--uart", "1", "--device", device, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


# --- stm32flash ---------------------------------------------------------------------------------------------


def stm32flash(port, *arguments, seconds=60):
    """Runs it; `-b 0` leaves the port's settings alone, which a pseudo-terminal needs. Gives its output."""
    expect(options.stm32flash, "stm32flash could not be installed")
    command = [options.stm32flash, "-b", "0", "-m", "8n1", *arguments, port]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    output = (done.stdout + done.stderr).replace("\r", "\n")
    expect(done.returncode == 0, f"exit code {done.returncode}: {output[-300:]}")
    return output


def check_stm32flash(device, product_id, name, length, pace, work):
    label = f"stm32flash {device}" + (" in real time" if not pace else "")
    written, back = work / "written.bin", work / "back.bin"
    # Above 57600 an F746 connects only sometimes (AN2606), as its simulation does.
    baud = ["--baud", "57600"] if device == "F746" else []
    with serial_board(device, *pace, *baud) as port:
        with check(f"{label} reads the product ID"):
            expect(f"0x{product_id:04x}" in stm32flash(port), "another product ID")
        data = None
        with check(f"{label} writes and verifies {length} bytes"):
            data = image(name, length)
            written.write_bytes(data)
            output = stm32flash(port, "-w", str(written), "-v", "-S", f"{FLASH:#x}")
            expect("Wrote and verified" in output and "100.00%" in output, output[-200:])
        with check(f"{label} reads the same bytes back"):
            stm32flash(port, "-r", str(back), "-S", f"{FLASH:#x}:{length}")
            expect(data is not None and back.read_bytes() == data, "other bytes")
        with check(f"{label} erases"):
            stm32flash(port, "-o", seconds=120)
            stm32flash(port, "-r", str(back), "-S", f"{FLASH:#x}:{length}")
            erased = 0x00 if device.startswith("L0") or device.startswith("L1") else 0xFF
            expect(back.read_bytes() == bytes([erased]) * length, "not blank")


def check_stm32flash_protection(work):
    """What recovery needs: lock, be refused, unlock by erasing everything."""
    written, back = work / "written.bin", work / "back.bin"
    with serial_board("F103", "--unpaced") as port:
        with check("stm32flash F103 sets read-out protection"):
            data = image("small-f103-64k.bin", 4096)
            written.write_bytes(data)
            stm32flash(port, "-w", str(written), "-v", "-S", f"{FLASH:#x}")
            stm32flash(port, "-j")
        with check("stm32flash F103 cannot read a protected chip"):
            try:
                stm32flash(port, "-r", str(back), "-S", f"{FLASH:#x}:256")
            except AssertionError as error:
                expect("exit code" in str(error), str(error))
            else:
                expect(False, "it could")
        with check("stm32flash F103 removes the protection and finds the chip erased"):
            stm32flash(port, "-k")
            stm32flash(port, "-r", str(back), "-S", f"{FLASH:#x}:4096")
            expect(back.read_bytes() == b"\xff" * 4096, "not erased")
        with check("stm32flash F103 can be written again"):
            stm32flash(port, "-w", str(written), "-v", "-S", f"{FLASH:#x}")


# --- stm32loader -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stm32loader(port, family):
    """Its library on a port of its own, connected; what it prints is kept out of our lines."""
    import serial
    from stm32loader.bootloader import Stm32Bootloader

    # A pseudo-terminal has no parity: 'E' is refused with EINVAL.
    with serial.Serial(port, 115200, parity="N", timeout=5) as connection:
        loader = Stm32Bootloader(connection, device_family=family, verbosity=0)
        with contextlib.redirect_stderr(io.StringIO()):
            loader.reset_from_system_memory()
            # Get first: it tells the library which erase command there is.
            loader.get()
            yield loader


def check_stm32loader(device, product_id, name, length, family):
    label = f"stm32loader {device}"
    with serial_board(device, "--unpaced") as port:
        with check(f"{label} reads the product ID"), stm32loader(port, family) as loader:
            expect(loader.get_id() == product_id, "another product ID")
        if family in ("F4", "L0"):
            with check(f"{label} reads flash size and unique ID"), stm32loader(port, family) as loader:
                size, uid = loader.get_flash_size_and_uid()
                expect(size == {"F4": 1024, "L0": 64}[family], f"{size} KiB")
                expect(len(uid) == 12 and len(set(uid)) > 3, f"unique ID {uid.hex()}")
        with check(f"{label} erases"), stm32loader(port, family) as loader:
            loader.erase_memory()
        data = None
        with check(f"{label} writes {length} bytes"), stm32loader(port, family) as loader:
            data = image(name, length)
            loader.write_memory_data(FLASH, data)
        with check(f"{label} reads the same bytes back"), stm32loader(port, family) as loader:
            back = loader.read_memory_data(FLASH, length)
            expect(data is not None, "nothing was written")
            loader.verify_data(bytes(back), data)
        with check(f"{label} erases one page and leaves the next"), stm32loader(port, family) as loader:
            loader.erase_memory([1])
            page = {"F405": 16384, "F103": 1024, "G431": 2048, "L053": 128}[device]
            around = bytes(loader.read_memory_data(FLASH + page - 64, 64))
            inside = bytes(loader.read_memory_data(FLASH + page, 128))
            erased = 0x00 if family == "L0" else 0xFF
            expect(data is not None and around == data[page - 64 : page], "the page before changed")
            expect(inside == bytes([erased]) * 128, "the page is not blank")
        with check(f"{label} starts the program"), stm32loader(port, family) as loader:
            loader.go(FLASH)


# --- canprog -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def can_board(device, channel):
    """A simulated board on python-can's virtual bus; gives the host's end of that bus."""
    import can

    command = [options.simulator, "--can", "classic", "--device", device]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    board, host = (can.Bus(channel, bustype="virtual") for _ in range(2))
    running = True

    def to_board():
        while running:
            message = board.recv(0.1)
            if message is not None:
                process.stdin.write(f"{message.arbitration_id:X}#{bytes(message.data).hex()}\n")
                process.stdin.flush()

    def from_board():
        for line in process.stdout:
            identifier, data = line.strip().split("#", 1)
            board.send(
                can.Message(
                    arbitration_id=int(identifier, 16), data=bytes.fromhex(data), is_extended_id=False
                )
            )

    threads = [threading.Thread(target=work, daemon=True) for work in (to_board, from_board)]
    for thread in threads:
        thread.start()
    try:
        yield host
    finally:
        running = False
        threads[0].join()
        process.stdin.close()
        process.wait()
        threads[1].join()
        host.shutdown()
        board.shutdown()


def canprog(bus):
    import logging

    from canprog.logger import log
    from canprog.protocols.stm32 import STM32Protocol

    log.setLevel(logging.CRITICAL)
    protocol = STM32Protocol(bus)
    # A second connection finds the ROM connected and is refused, which canprog takes for an answer too.
    protocol.connect()
    return protocol


def check_canprog(device, product_id, name, length, pages):
    label = f"canprog {device}"
    with contextlib.ExitStack() as stack:
        try:
            bus = stack.enter_context(can_board(device, f"peers-{device}"))
        except Exception as error:
            bus, problem = None, error

        def protocol():
            if bus is None:
                raise problem
            return canprog(bus)

        with check(f"{label} reads the product ID"):
            expect(int(protocol()._chip_id, 16) == product_id, "another product ID")
        with check(f"{label} erases everything"):
            protocol().erase([])
        data = None
        with check(f"{label} writes {length} bytes"):
            data = image(name, length)
            protocol().write(FLASH, data)
        with check(f"{label} reads the same bytes back"):
            expect(data is not None and bytes(protocol().read(FLASH, length)) == data, "other bytes")
        with check(f"{label} erases page by page"):
            host = protocol()
            host.erase(list(pages))
            expect(bytes(host.read(FLASH, length)) == b"\xff" * length, "not blank")
        with check(f"{label} starts the program"):
            protocol().go(FLASH)


def main():
    global options
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("simulator", "panelflash", "stm32flash", "firmware", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--clock", action="store_true", help="also compare times with stm32flash, by the wall clock")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="how often each of them, for --clock")
    options = parser.parse_args()
    options.simulator = os.path.abspath(options.simulator)
    options.panelflash = os.path.abspath(options.panelflash)
    if options.stm32flash:
        options.stm32flash = os.path.abspath(options.stm32flash)
    work = pathlib.Path(options.work)
    # canprog polls its bus without a pause; give the bridge's threads their turn at once.
    sys.setswitchinterval(0.0001)

    start = time.monotonic()
    for device, product_id, name, length in FLASH_BOARDS:
        check_stm32flash(device, product_id, name, length, ["--unpaced"], work)
    check_stm32flash("F103", 0x410, "small-f103-64k.bin", 16384, [], work)
    check_stm32flash_protection(work)
    for board in LOADER_BOARDS:
        check_stm32loader(*board)
    for board in CAN_BOARDS:
        check_canprog(*board)
    side_by_side.count(check, options.simulator, options.stm32flash, options.panelflash, work)
    if options.clock:
        side_by_side.run(check, serial_board, options.stm32flash, options.panelflash, work, options.turns)
    print(f"peers took {time.monotonic() - start:.1f} s", file=sys.stderr)

    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
