"""The checks of the User-Mode Linux machine: vcan and slcan interfaces."""

import subprocess

from checks import PYTHON, check, environment, expect, ip


def interfaces():
    with check("vcan interfaces come up, with frames of CAN FD"):
        for name in ("vcan0", "vcan1"):
            ip("link", "add", name, "type", "vcan")
            ip("link", "set", name, "mtu", "72", "up")
        expect("mtu 72" in ip("-d", "link", "show", "vcan0").stdout, "vcan0 does not carry FD frames")


def peers():
    # canprog lives in a virtual environment: its checks are a program of their own.
    done = subprocess.run([PYTHON, "-B", "rom_can.py", "vcan0"], env=environment(), timeout=120)
    if done.returncode != 0:
        print(f"FAILED canprog on vcan0: its checks ended with exit code {done.returncode}", flush=True)


def main():
    interfaces()
    peers()
    print("END", flush=True)


if __name__ == "__main__":
    main()
