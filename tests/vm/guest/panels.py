"""Programming simulated panels through interfaces of the kernel: one process simulates the boards, another runs the job.

Both are the very program that is shipped; the kernel's CAN stack is all that connects them.
"""

import contextlib
import json
import pathlib
import shutil
import socket
import struct
import subprocess
import time

from checks import FIRMWARE, PANELFLASH, SCRATCH, environment, expect, serving

COUNT = iter(range(1, 1000))


def panel_file(folder, rows, columns, link, rates='bit_rate = "1M"', lines=True, ways=""):
    """A panel whose power and NRST (and BOOT0, for ways through a ROM) are lines of a simulated panel with this folder.

    Without lines its boards have power all the time.
    """
    socket = folder / "fixture"
    text = f'name = "vm-{rows * columns}"\nrows = {rows}\ncolumns = {columns}\n{ways}'
    text += f'[[bus]]\nname = "can"\nlink = "{link}"\n{rates}\n'
    if lines:
        names = ("power", "nrst", "boot0") if ways else ("power", "nrst")
        text += "[fixture]\n" + "".join(f'{name} = "sim:{socket}#{name}-{{slot}}"\n' for name in names)
    path = folder / "panel.toml"
    path.write_text(text)
    return path


def job_file(where, chip, device_id, image, address, limits=""):
    """A job for data that is not started, so that any image will do for any chip."""
    path = where / "job.toml"
    path.write_text(
        f'name = "vm"\nstart_application = false\n[target]\nchip = "{chip}"\ndevice_id = {device_id:#x}\n'
        f'[[image]]\nfile = "{FIRMWARE / image}"\naddress = {address:#x}\n{limits}'
    )
    return path


def folder():
    path = SCRATCH / f"panel-{next(COUNT)}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


@contextlib.contextmanager
def boards(where, panel, *options):
    """The simulated boards; gives where their buses are, as (name, link)."""
    command = [PANELFLASH, "sim", "panel", "--panel", panel, "--dir", where, *options]
    with serving(*command, first_lines=2) as (process, lines):
        yield process, [line.split(" ", 1) for line in lines if not line.startswith(("fixture", "panel"))]


class Run:
    """A run under way."""

    def __init__(self, panel, where, *options, stdin=subprocess.DEVNULL):
        self.records = where / f"records-{next(COUNT)}"
        self.output = open(where / "run.json", "w+", encoding="utf-8")
        self.errors = open(where / "run.errors", "w+", encoding="utf-8")
        command = [PANELFLASH, "run", "--panel", panel, "--records", self.records, "--json", *options]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=stdin, stdout=self.output, stderr=self.errors, env=environment()
        )

    def end(self, seconds=60):
        """Waits for its end; gives exit code and result. A run that hangs is killed and fails the check."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the run still hung after {seconds} s: {self.said()}") from None
        self.output.seek(0)
        text = self.output.read()
        return code, json.loads(text) if text.strip() else {"boards": [], "passed": 0}

    def said(self):
        self.errors.seek(0)
        return " ".join(self.errors.read().split())[-400:]

    def wait_for_traffic(self, interface, frames=2000, seconds=30):
        """Until so many frames were sent on an interface since it came up."""
        counter = pathlib.Path(f"/sys/class/net/{interface}/statistics/tx_packets")
        before = int(counter.read_text())
        while int(counter.read_text()) < before + frames:
            expect(time.monotonic() < self.started + seconds, f"no traffic: {self.said()}")
            expect(self.process.poll() is None, f"the run ended before its traffic: {self.said()}")
            time.sleep(0.02)


class Observer:
    """A third program on a CAN interface: keeps every frame of a run, and says whether the data is whole and in order.

    It reads only when the run is over, so that it costs the programs under test nothing.
    """

    FRAME = struct.Struct("=IB3x8s")
    BUFFER = 64 << 20
    SO_RCVBUFFORCE = 33

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self.socket.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE, self.BUFFER)
        self.socket.bind((interface,))
        self.socket.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def check(self):
        """Every chunk that a Seek announces comes, once and in order, before the next Seek; gives how many came."""
        wanted, count = [], 0
        while True:
            try:
                identifier, length, data = self.FRAME.unpack(self.socket.recv(self.FRAME.size))
            except BlockingIOError:
                break
            if identifier == 0x300 and data[0] == 0x20:
                expect(not wanted, f"{len(wanted)} chunks did not come before the next Seek")
                # Opcode, segment (bit 15: a repair, of which only a part comes), first and last chunk of one or two ranges.
                expect(not data[2] & 0x80, "a repair on a bus that loses nothing")
                pairs = zip(data[3:length:2], data[4:length:2])
                wanted = [(data[1] % 4, n) for first, last in pairs for n in range(first, last + 1)]
                wanted.reverse()
            elif 0x400 <= identifier < 0x800:
                got = (identifier >> 8 & 3, identifier & 0xFF)
                expect(wanted and wanted.pop() == got, f"chunk {got} came out of order")
                count += 1
        expect(not wanted and count, f"{len(wanted)} chunks did not come, {count} came")
        return count


def expect_pass(code, result, count, run):
    wrong = [f"{b['slot']}: {b['code']} {b['detail']}" for b in result["boards"] if b["result"] != "pass"]
    expect(
        code == 0 and result["passed"] == count and not wrong,
        f"exit {code}, {result['passed']} of {count} passed; {wrong[:3]} {run.said() if not wrong else ''}",
    )


def codes(result):
    return sorted({b["code"].split()[0] for b in result["boards"] if b["code"]})


def figures(result):
    return (
        f"{result['seconds']:.2f} s, ratio {result['ratio']:.3f}, {result['bus_frames']} frames, "
        f"{result['frames_repeated']} repeated, {result['frames_lost']} lost, queue full {result['queue_full']} times, "
        f"{result['host_cpu_us_per_frame']:.0f} us of processor a frame"
    )
