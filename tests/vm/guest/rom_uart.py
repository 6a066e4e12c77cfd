"""The ROM bootloader over real 16550 UARTs with even parity: stm32flash and panelflash side by side.

The simulated board is on a pseudo-terminal, which has no parity; `Wire` connects it to UART 2, which is wired to
UART 1 where the hosts are. Both UARTs are set to 8E1 and asked whether they are.
"""

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import time
import tty

from checks import PANELFLASH, SCRATCH, check, expect, image, note, run, serving, tool
from panels import Run, expect_pass, folder, job_file

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
        # Opening the host's port raises its RTS and DTR: whoever watches these says how it is held open already.
        self.host = HOST
        self.running = True

    def run(self):
        ends = {self.uart: self.pty, self.pty: self.uart}
        while self.running:
            for fd in select.select(list(ends), [], [], 0.1)[0]:
                data = os.read(fd, 4096)
                if data and fd == self.uart:
                    # Bytes have just come from the host: its port is open, and has the settings it wants.
                    self.parity.add(bool(even_parity(self.host)))
                while data:
                    data = data[os.write(ends[fd], data) :]

    def close(self):
        self.running = False
        self.join()
        os.close(self.uart)
        os.close(self.pty)


class Lines(threading.Thread):
    """Writes down RTS and DTR of the host's port whenever they change, as (RTS, DTR, seen, last look before)."""

    def __init__(self):
        super().__init__(daemon=True)
        # Held open, so that nothing but the program under test moves the lines.
        self.port = os.open(HOST, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        none = struct.pack("I", termios.TIOCM_RTS | termios.TIOCM_DTR)
        fcntl.ioctl(self.port, termios.TIOCMBIC, none)
        self.seen = []
        self.running = True

    def run(self):
        before = time.monotonic()
        while self.running:
            look = time.monotonic()
            state = struct.unpack("I", fcntl.ioctl(self.port, termios.TIOCMGET, b"\0" * 4))[0]
            now = (bool(state & termios.TIOCM_RTS), bool(state & termios.TIOCM_DTR))
            if not self.seen or self.seen[-1][:2] != now:
                self.seen.append((*now, time.monotonic(), before))
            before = look
            time.sleep(0.005)

    def close(self):
        time.sleep(0.05)
        self.running = False
        self.join()
        os.close(self.port)


def lines_of_the_boards_own_port():
    where = folder()
    (where / "image.bin").write_bytes(image("small-f103-64k.bin", 2048))
    job = job_file(where, "STM32F405", 0x413, where / "image.bin", 0x08004000)
    panel = where / "panel.toml"
    panel.write_text(
        f'name = "uart"\nrows = 1\ncolumns = 1\nways = ["rom-uart"]\nport = "{HOST}"\n[fixture]\n'
        f'nrst = "rts:{HOST}"\nboot0 = "dtr:{HOST}"\nreset_pulse = "300 ms"\nline_settle = "100 ms"\n'
    )
    with check("a run resets a board by RTS and DTR of the very port that it programs it over, and lets go of both"):
        with board("F405") as wire:
            lines = Lines()
            wire.host = lines.port
            lines.start()
            attempt = Run(panel, where, job)
            code, result = attempt.end(90)
            lines.close()
            expect_pass(code, result, 1, attempt)
            expect(wire.parity == {True}, f"the run's port had even parity: {wire.parity}")
            # The kernel raises both for a moment when the program opens the port; what counts comes after that:
            # BOOT0 first, NRST while it is high, then both low again.
            seen = lines.seen[-4:]
            expect(
                [now[:2] for now in seen] == [(False, True), (True, True), (False, True), (False, False)],
                f"RTS and DTR were {lines.seen}",
            )
            # A look may come late: from the last one that did not see a change to the first that saw the next.
            # DTR may be high since the port was opened.
            before = lines.seen[-5]
            high = before if before[1] else seen[0]
            pulse, settled = seen[2][2] - seen[1][3], seen[1][2] - high[3]
            expect(pulse >= 0.3 and settled >= 0.1, f"NRST {pulse:.3f} s, {settled:.3f} s after BOOT0")


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
    lines_of_the_boards_own_port()
    for name, seconds in took.items():
        note(f"{name}: {len(data)} bytes written and verified over a UART at {BAUD} baud in {seconds:.1f} s")
