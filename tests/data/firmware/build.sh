#!/bin/sh
# Builds every firmware image in this directory from src/. Needs Debian's gcc-arm-none-eabi,
# libnewlib-arm-none-eabi and python3. The output is the same, byte for byte, with the same toolchain.
#
#   sh tests/data/firmware/build.sh [OUTPUT_DIRECTORY]      default: beside this script
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=arm-none-eabi-

m4="-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard"
m3="-mcpu=cortex-m3 -mthumb"

# image NAME FAMILY CPU LINK_ADDRESS KIB RAM_KIB SETTINGS TABLE_ALIGN CODE_OFFSET FLAGS
image() {
    name=$1 family=$2 cpu=$3 address=$4 kib=$5 ram=$6 settings=$7 align=$8 code=$9
    shift 9
    flags=$*
    dir=$work/$name
    mkdir "$dir"
    small= library=
    case $flags in *-DSMALL*) small=small library=--specs=nano.specs ;; esac
    (cd "$dir" && python3 "$here/src/tables.py" $small)
    for file in "$here"/src/*.c "$dir/tables.c"; do
        (cd "$here/src" && ${prefix}gcc $cpu -std=gnu11 $flags -DFAMILY_"$family" -I"$dir" -I. -Wall -Wextra \
            -ffunction-sections -fdata-sections -fno-math-errno -ffile-prefix-map="$dir"=. -ffile-prefix-map="$here"/src=. \
            -c "$(basename "$file" | sed "s,^tables.c,$dir/tables.c,")" -o "$dir/$(basename "$file" .c).o")
    done
    ${prefix}gcc $cpu -nostartfiles $library -Wl,--gc-sections -Wl,-z,max-page-size=256 -Wl,--build-id=none \
        -Wl,--defsym=IMAGE_START="$address",--defsym=IMAGE_SIZE=$((kib * 1024)),--defsym=RAM_SIZE=$((ram * 1024)) \
        -Wl,--defsym=SETTINGS_SIZE="$settings",--defsym=TABLE_ALIGN="$align",--defsym=CODE_OFFSET="$code" \
        -T "$here/src/link.ld" "$dir"/*.o -lm -o "$dir/full.elf"
    ${prefix}strip -o "$dir/image.elf" "$dir/full.elf"
    ${prefix}objcopy -O binary --gap-fill 0xFF "$dir/image.elf" "$out/$name.bin"
    python3 "$here/measure.py" "$out/$name.bin" "$address" "$dir/image.elf" "${prefix}size"
}

# the demonstration, in every format
image demo-f405-256k F4 "$m4" 0x08020000 256 128 8192 4096 4096 -O2
cp "$work/demo-f405-256k/image.elf" "$out/demo-f405.elf"
# an S-record file names itself in its header record, so without a path
(cd "$out" && ${prefix}objcopy -O ihex demo-f405.elf demo-f405.hex)
(cd "$out" && ${prefix}objcopy -O srec --srec-len 240 demo-f405.elf demo-f405.srec)

# quarters of a 1 MiB image, with bench-1m-0 being the demonstration itself
image bench-1m-1 F4 "$m4" 0x08060000 256 128 8192 4096 4096 -O1
image bench-1m-2 F4 "$m4" 0x080A0000 256 128 8192 4096 4096 -Os

# 64 KiB: the same program with fewer functions and shorter tables
image bench-64k F4 "$m4" 0x08020000 64 128 2048 512 1024 -Os -DSMALL
image small-g431-64k G4 "$m4" 0x08005000 64 22 2048 512 1024 -Os -DSMALL
image small-g474-64k G4 "$m4" 0x08008000 64 96 2048 512 1024 -Os -DSMALL
image small-f103-64k F1 "$m3" 0x08008000 64 20 2048 512 1024 -Os -DSMALL

# a program whose ELF file has its own headers inside the loaded segment
${prefix}gcc $m4 -Os -nostdlib -Wl,--build-id=none,-z,max-page-size=65536 \
    -T "$here/src/blink/blink.ld" "$here/src/blink/blink.c" -o "$work/blink.elf"
${prefix}strip -o "$out/blink-headers-loaded.elf" "$work/blink.elf"
${prefix}objcopy -O binary "$out/blink-headers-loaded.elf" "$out/blink-headers-loaded.bin"

chmod 644 "$out"/*.bin "$out"/*.elf "$out"/*.hex "$out"/*.srec
