#!/bin/bash
# The QEMU machine on the host's files: file systems, then the checks, then power off.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /run
# The console must not turn line ends into two characters.
stty -F /dev/ttyS0 -onlcr
cd "$(dirname "$0")" && python3 -B controllers.py
"$VM_ROOT/bin/busybox" poweroff -f
