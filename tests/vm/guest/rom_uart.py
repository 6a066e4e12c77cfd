"""The ROM bootloader over real 16550 UARTs with even parity: stm32flash and panelflash side by side.

The simulated board is on a pseudo-terminal, which has no parity; `Wire` connects it to UART 2, which is wired to
UART 1 where the hosts are. Both UARTs are set to 8E1 and asked whether they are.
"""

import contextlib
import os
import select
import termios
import threading
import time
import tty

from checks import PANELFLASH, SCRATCH, check, expect, image, note, run, serving, tool

HOST, BOARD = "/dev/ttyS1", "/dev/ttyS2"
FLASH = 0x08000000
BAUD = 115200


def even_parity(path_or_fd):
    """Whether a port is set to 8 data bits with even parity."""
    fd = os.open(path_or_fd, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) if isinstance(path_or_fd, str) else path_or_fd
    try:
        flags = termios.tcgetattr(fd)[2]
    finally:
        if fd is not path_or_fd:
            os.close(fd)
    return flags & termios.PARENB and not flags & termios.PARODD and flags & termios.CSIZE == termios.CS8


class Wire(threading.Thread):
    """Carries bytes between a pseudo-terminal and UART 2, and watches how the host has set UART 1."""

    def __init__(self, pty):
        super().__init__(daemon=True)
        self.uart = os.open(BOARD, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.uart)
        settings = termios.tcgetattr(self.uart)
        settings[2] = termios.CS8 | termios.PARENB | termios.CREAD | termios.CLOCAL
        settings[4] = settings[5] = termios.B115200
        termios.tcsetattr(self.uart, termios.TCSANOW, settings)
        self.pty = os.open(pty, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.pty)
        self.parity = set()
        self.running = True

    def run(self):
        ends = {self.uart: self.pty, self.pty: self.uart}
        while self.running:
            for fd in select.select(list(ends), [], [], 0.1)[0]:
                data = os.read(fd, 4096)
                if data and fd == self.uart:
                    # Bytes have just come from the host: its port is open, and has the settings it wants.
                    self.parity.add(bool(even_parity(HOST)))
                while data:
                    data = data[os.write(ends[fd], data) :]

    def close(self):
        self.running = False
        self.join()
        os.close(self.uart)
        os.close(self.pty)


@contextlib.contextmanager
def board(device):
    command = [PANELFLASH, "sim", "rom", "--uart", "1", "--device", device, "--unpaced"]
    with serving(*command, first_lines=1) as (_, (pty,)):
        wire = Wire(pty)
        wire.start()
        try:
            yield wire
        finally:
            wire.close()


def stm32flash(*arguments):
    done = run(tool("stm32flash"), "-b", BAUD, "-m", "8e1", *arguments, HOST, seconds=120)
    return done.stdout + done.stderr


def checks():
    written, back = SCRATCH / "written.bin", SCRATCH / "back.bin"
    data = image("small-f103-64k.bin", 16384)
    written.write_bytes(data)
    took = {}
    with check("stm32flash writes and verifies an F103 over 16550 UARTs with 8E1"):
        with board("F103") as wire:
            started = time.monotonic()
            output = stm32flash("-w", written, "-v", "-S", f"{FLASH:#x}")
            took["stm32flash"] = time.monotonic() - started
            expect("Wrote and verified" in output and "100.00%" in output, output[-300:])
            expect(wire.parity == {True}, f"the host's port had even parity: {wire.parity}")
            stm32flash("-r", back, "-S", f"{FLASH:#x}:{len(data)}")
            expect(back.read_bytes() == data, "other bytes were read back")
    with check("panelflash rom write and read do the same, with the same parity"):
        with board("F103") as wire:
            started = time.monotonic()
            run(PANELFLASH, "rom", "write", written, "--address", f"{FLASH:#x}", "--port", HOST, "--baud", BAUD, seconds=120)
            took["panelflash"] = time.monotonic() - started
            expect(wire.parity == {True}, f"our port had even parity: {wire.parity}")
            back.unlink(missing_ok=True)
            read = ["--address", f"{FLASH:#x}", "--length", len(data), "--output", back]
            run(PANELFLASH, "rom", "read", *read, "--port", HOST, "--baud", BAUD, seconds=120)
            expect(back.read_bytes() == data, "other bytes were read back")
    with check("what stm32flash wrote panelflash verifies, and the other way round"):
        with board("F103"):
            stm32flash("-w", written, "-S", f"{FLASH:#x}")
            run(PANELFLASH, "rom", "verify", written, "--address", f"{FLASH:#x}", "--port", HOST, "--baud", BAUD)
            run(PANELFLASH, "rom", "erase", "--yes", "--port", HOST, "--baud", BAUD)
            run(PANELFLASH, "rom", "write", written, "--address", f"{FLASH:#x}", "--port", HOST, "--baud", BAUD)
            stm32flash("-r", back, "-S", f"{FLASH:#x}:{len(data)}")
            expect(back.read_bytes() == data, "stm32flash read other bytes")
    for name, seconds in took.items():
        note(f"{name}: {len(data)} bytes written and verified over a UART at {BAUD} baud in {seconds:.1f} s")
