#!/usr/bin/env python3
"""From power-up to the application and back, in QEMU's STM32F405 with the shipped bootloader and the example.

The flash image is made here from docs/protocol.md section 13, not by the code under test. QEMU 7.2 (netduinoplus2)
has USARTs and SysTick, but neither CAN nor RCC nor a flash controller: nothing about these is checked here. Registers
that QEMU lacks read as 0, so the unique ID is zeros and the board calls itself protected (option bytes 0): the real host
can look for it and question it over TCP, and nothing can be erased or programmed.
Ends with "N passed, N failed".
"""
import binascii
import hashlib
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

TARGET = pathlib.Path(__file__).resolve().parents[2] / "target"
OUT = TARGET / "firmware"
HOST = TARGET / "debug" / "panelflash"
BASE, APP, RECORDS, SIZE = 0x08000000, 0x08008000, 0x080E0000, 1 << 20
DISCOVER = (0x300, bytes([1, 1, 1, 1]))
LIMIT = 30  # seconds of real time for an answer, far more than it takes


def record(kind, number, rest):
    body = b"PFR1" + bytes([kind, number, 255, 255]) + struct.pack("<I", 2) + rest
    assert len(body) == 56
    return body + struct.pack("<I", binascii.crc32(body)) + b"\xff" * 4


def image_id(line):
    """Of an image with one region, which its record describes."""
    return hashlib.sha256(line).digest()


def flash(damage=None):
    """A board whose example application was committed; one bit of it flipped at offset `damage`."""
    boot = (OUT / "f405-bare-bootloader.bin").read_bytes()
    app = (OUT / "example.bin").read_bytes()
    app += b"\xff" * (-len(app) % 4)
    line = struct.pack("<III", APP, len(app), binascii.crc32(app)) + hashlib.sha256(app).digest()
    valid = struct.pack("<III", 1, APP, APP + len(app)) + image_id(line)
    image = bytearray(b"\xff" * SIZE)
    for address, data in [(BASE, boot), (APP, app), (RECORDS, record(3, 0, line) + record(2, 9, valid))]:
        image[address - BASE:address - BASE + len(data)] = data
    if damage is not None:
        image[APP - BASE + damage] ^= 1
    return bytes(image)


def encode(identifier, data):
    body = struct.pack("<I", identifier) + data
    body += struct.pack("<I", binascii.crc32(body))
    return b"\0" + b"".join(bytes([len(part) + 1]) + part for part in body.split(b"\0")) + b"\0"


class Board:
    def __init__(self, image, in_ram=None, serial="stdio"):
        self.file = tempfile.NamedTemporaryFile(suffix=".bin")
        self.file.write(image)
        self.file.flush()
        loaders = ["-device", f"loader,file={self.file.name},addr={BASE:#x},force-raw=on"]
        if in_ram:
            self.program = tempfile.NamedTemporaryFile(suffix=".bin")
            self.program.write(in_ram[1])
            self.program.flush()
            loaders += ["-device", f"loader,file={self.program.name},addr={in_ram[0]:#x},force-raw=on"]
        self.qemu = subprocess.Popen(
            ["qemu-system-arm", "-M", "netduinoplus2", "-display", "none", "-monitor", "none", "-serial", serial,
             *loaders], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.heard = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.qemu.kill()
        self.qemu.wait()
        self.file.close()

    def say(self, frame):
        self.qemu.stdin.write(encode(*frame))
        self.qemu.stdin.flush()

    def hear(self, wanted, seconds=LIMIT, asking=None):
        """Whether these bytes come, `asking` again every half second."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if asking:
                self.say(asking)
            if select.select([self.qemu.stdout], [], [], 0.5)[0]:
                self.heard += os.read(self.qemu.stdout.fileno(), 4096)
            if wanted in self.heard:
                self.heard = self.heard.split(wanted, 1)[1]
                return True
        return False


LINE = b"panelflash example: running\r\n"
KEY = encode(0x8C000000, b"")  # QEMU has no unique ID: it reads as zeros


def starts_and_comes_back():
    with Board(flash()) as board:
        yield "a whole application is started after the start window", board.hear(LINE)
        board.say((0x185, bytes([0x36, 1, 0x5A, 0, 0, 0, 0])))
        # Reading, item 1, token 0x5A, count; the value is some number of blinks.
        yield "the application answers its test item", board.hear(bytes([7, 1, 0x5A, 5]))
        refusal = struct.pack("<BBBBBBBB", 0x80, 6, 0x36, 10, 9, 0, 0, 0)
        board.say((0x185, bytes([0x36, 9, 0x5A, 0, 0, 0, 0])))
        yield "the application refuses a test item that it has not", board.hear(encode(0x285, refusal))
        yield "a host that looks for boards brings the bootloader back", board.hear(KEY, asking=DISCOVER)
        yield "and there it stays", not board.hear(LINE, seconds=3)


def damaged():
    with Board(flash(damage=100)) as board:
        yield "a damaged application is not started", not board.hear(LINE, seconds=4)
        yield "and its board answers a host", board.hear(KEY, asking=DISCOVER)


def scan(port):
    """What `panelflash bus scan` finds at this port, asking again: it gives a board some tens of milliseconds, which
    QEMU may not get on a machine that has other work, nor does a board that the first question resets."""
    command = [HOST, "bus", "scan", "--tcp", f"127.0.0.1:{port}", "--json"]
    end, boards = time.monotonic() + LIMIT, []
    while not boards and time.monotonic() < end:
        found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT, check=False)
        boards = json.loads(found.stdout or b"[]")
    return boards


def hears(port, wanted, seconds=LIMIT):
    """Whether the board says this on its serial port, which is at this TCP port."""
    end, heard = time.monotonic() + seconds, b""
    while time.monotonic() < end and wanted not in heard:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
                line.settimeout(seconds)
                while more := line.recv(4096):
                    heard += more
                    if wanted in heard:
                        break
        except OSError:
            time.sleep(0.1)
    return wanted in heard


def real_host():
    """The program that people use, over the socket of a board's serial port."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    image = flash()
    number = int.from_bytes(image[RECORDS - BASE + 64 + 24:][:4], "little")
    with Board(image, serial=f"tcp:127.0.0.1:{port},server=on,wait=on"):
        # QEMU waits for the first connection: the line is said once.
        yield "the application runs behind a socket", hears(port, LINE)
        boards = scan(port)  # the first question brings the bootloader back
        told = [(b["device_id"], b["uid"], b["bootloader_version"], b["image"], b["image_id"]) for b in boards]
        wanted = [("0x413", "0" * 24, "0.1", "valid", f"{number:08x}")]
        yield f"panelflash bus scan finds the board and its image over TCP: {told}", told == wanted
        again = scan(port)
        yield "and finds it again, the only one", len(again) == 1 and again == boards


passed = failed = 0
for name, good in [check for part in (starts_and_comes_back, damaged, real_host) for check in part()]:
    print(f"{'ok' if good else 'FAILED'}: {name}")
    passed, failed = passed + good, failed + (not good)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
