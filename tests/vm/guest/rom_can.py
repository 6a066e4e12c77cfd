"""canprog against the simulated CAN ROM, through a CAN interface of the kernel.

The simulated ROM speaks lines on its standard streams; `Wire` puts its frames on the interface and takes the
host's from it. canprog opens the interface by itself, as on a real bus.
"""

import socket
import struct
import subprocess
import sys
import threading

from checks import BIN, FIRMWARE, check, environment, expect, image

FLASH = 0x08000000
FRAME = struct.Struct("=IB3x8s")
BOARDS = [
    # device, product ID, image, bytes, pages that image covers
    ("F405", 0x413, "bench-64k.bin", 32768, range(2)),
    ("F107", 0x418, "small-f103-64k.bin", 16384, range(8)),
    ("L476", 0x415, "small-g431-64k.bin", 16384, range(8)),
]


class Wire:
    """A simulated board on an interface."""

    def __init__(self, device, interface):
        self.socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self.socket.bind((interface,))
        self.socket.settimeout(0.1)
        self.running = True
        self.process = subprocess.Popen(
            [BIN / "rom-simulator", "--can", "classic", "--device", device],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment(),
        )  # fmt: skip
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.to_board, self.from_board)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.running = False
        self.threads[0].join()
        self.process.stdin.close()
        self.process.wait(10)
        self.threads[1].join()
        self.socket.close()

    def to_board(self):
        while self.running:
            try:
                identifier, length, data = FRAME.unpack(self.socket.recv(FRAME.size))
            except TimeoutError:
                continue
            self.process.stdin.write(f"{identifier:X}#{data[:length].hex()}\n")
            self.process.stdin.flush()

    def from_board(self):
        for line in self.process.stdout:
            identifier, data = line.strip().split("#", 1)
            data = bytes.fromhex(data)
            self.socket.send(FRAME.pack(int(identifier, 16), len(data), data))


def connect(interface):
    import logging

    import can
    from canprog.logger import log
    from canprog.protocols.stm32 import STM32Protocol

    log.setLevel(logging.CRITICAL)
    bus = can.Bus(interface, bustype="socketcan")
    protocol = STM32Protocol(bus)
    protocol.connect()
    return bus, protocol


def main(interface):
    sys.setswitchinterval(0.0001)
    for device, product_id, name, length, pages in BOARDS:
        with check(f"canprog {device} on {interface}: reads the ID, erases, writes, reads back, erases pages"):
            data = image(name, length)
            with Wire(device, interface):
                bus, protocol = connect(interface)
                try:
                    expect(int(protocol._chip_id, 16) == product_id, f"product ID {protocol._chip_id}")
                    protocol.erase([])
                    protocol.write(FLASH, data)
                    expect(bytes(protocol.read(FLASH, length)) == data, "other bytes were read back")
                    protocol.erase(list(pages))
                    expect(bytes(protocol.read(FLASH, length)) == b"\xff" * length, "not blank")
                finally:
                    bus.shutdown()


if __name__ == "__main__":
    expect(FIRMWARE.is_dir(), f"{FIRMWARE} is missing")
    main(sys.argv[1])
