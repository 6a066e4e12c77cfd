//! Finds the board file and writes the linker script for the chip: the one place that knows RAM; how
//! much flash the bootloader keeps is in `panel-layout`.
//!
//! The board is named by `PANELFLASH_BOARD` (a file in `boards/`); its name begins with the chip's.

use panel_layout::{F1, F4, G0, G4, Resident};
use std::{env, fs, path::Path};

/// A chip's memory, in bytes.
struct Memory {
    chip: &'static str,
    ram: (u32, u32),
    /// First address of RAM that the ROM bootloader does not use (AN2606).
    agent: u32,
    /// Flash kept for the resident bootloader.
    resident: Resident,
    stack: u32,
    /// The program stays in flash: RAM has no room for it.
    in_place: bool,
    /// Alignment of the vector table: the next power of two above its size.
    align: u32,
}

const KIB: u32 = 1024;

impl Memory {
    /// Bytes from the beginning of RAM that a program may use.
    fn usable(&self) -> u32 {
        self.ram.1 - MAILBOX - if self.in_place { 0 } else { FRONT_STACK } - NOISE
    }
}

const CHIPS: [Memory; 5] = [
    Memory {
        chip: "f405",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_3000,
        resident: F4,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "g431",
        ram: (0x2000_0000, 32 * KIB),
        agent: 0x2000_4000,
        resident: G4,
        stack: 8 * KIB,
        align: 512,
        in_place: true,
    },
    Memory {
        chip: "g474",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_4000,
        resident: G4,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "f103",
        ram: (0x2000_0000, 64 * KIB),
        agent: 0x2000_0200,
        resident: F1,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "g0b1",
        ram: (0x2000_0000, 144 * KIB),
        agent: 0x2000_4000,
        resident: G0,
        stack: 8 * KIB,
        align: 256,
        in_place: false,
    },
];

/// Largest program that is packed, and behind it in RAM the place where a packed agent unpacks itself.
const PROGRAM_LIMIT: u32 = 40 * KIB;
/// What lies at the end of RAM: memory that no program of ours writes, because a board's nonce is made of what it holds; the
/// front's stack, with the unpacker's probabilities on it; the mailbox, notes between application and bootloader.
const NOISE: u32 = KIB;
const FRONT_STACK: u32 = KIB;
const MAILBOX: u32 = 16;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let board = env::var("PANELFLASH_BOARD").unwrap_or_else(|_| "f405".to_owned());
    let chip = board.split('-').next().unwrap_or_default();
    let memory = CHIPS.iter().find(|m| m.chip == chip);
    let memory = memory.unwrap_or_else(|| panic!("board {board:?}: its name must begin with a chip's"));
    let feature = format!("CARGO_FEATURE_{}", chip.to_uppercase());
    assert!(env::var_os(&feature).is_some(), "board {board:?} needs --features {chip}");
    let file = Path::new(&root).join("boards").join(format!("{board}.rs"));
    assert!(file.exists(), "no board file {}", file.display());
    println!("cargo:rustc-env=PANELFLASH_BOARD_FILE={}", file.display());
    println!("cargo:rerun-if-env-changed=PANELFLASH_BOARD");
    println!("cargo:rerun-if-changed={}", file.display());
    let has_key = fs::read_to_string(&file).expect("it exists").contains("seal: Some(");
    let size = memory.resident.bytes(has_key);
    fs::write(Path::new(&out).join("resident_size.rs"), format!("{size:#x}")).expect("OUT_DIR");
    let is_agent = env::var_os("CARGO_FEATURE_AGENT").is_some();
    let program = if is_agent {
        // The agent's image may not reach to where it moves.
        in_ram(memory, memory.agent, memory.ram.0 + PROGRAM_LIMIT - memory.agent)
    } else if memory.in_place {
        in_flash(memory, size)
    } else {
        in_ram(memory, RESIDENT, size)
    };
    for (binary, script) in [("program", program), ("front", front(memory))] {
        let path = Path::new(&out).join(format!("{binary}.ld"));
        fs::write(&path, script).expect("OUT_DIR");
        println!("cargo:rustc-link-arg-bin={binary}=-T{}", path.display());
        println!("cargo:rustc-link-arg-bin={binary}=--nmagic"); // no ELF headers in what is loaded
    }
}

/// Where the resident bootloader lies.
const RESIDENT: u32 = 0x0800_0000;

/// Program that runs in flash.
fn in_flash(m: &Memory, size: u32) -> String {
    let flash = format!("FLASH (rx) : ORIGIN = {RESIDENT:#x}, LENGTH = {size:#x}");
    script(m, &flash, "FLASH", "")
}

/// Program at the beginning of RAM, where the front puts it. `panel-packed` reads from the symbols where the packed image
/// is loaded, where it moves itself to unpack, and how large it may be.
fn in_ram(m: &Memory, load: u32, limit: u32) -> String {
    let home = m.ram.0 + PROGRAM_LIMIT;
    let limit = limit.min(m.ram.0 + m.usable() - home);
    let end = format!(
        "_packed_load = {load:#x};
_packed_home = {home:#x};
_packed_limit = {limit:#x};
ASSERT(_program_end - _program_start <= {PROGRAM_LIMIT:#x}, \"no room for the packed image behind the program\")"
    );
    script(m, "", "RAM", &end)
}

/// What unpacks: instructions only, at 0 because it goes elsewhere.
fn front(m: &Memory) -> String {
    let stack = m.ram.0 + m.ram.1 - MAILBOX;
    format!(
        "ENTRY(front_start)
_front_stack = {stack:#x};
SECTIONS {{
  .front 0 : {{ KEEP(*(.front)) *(.text .text.*) . = ALIGN(4); }}
  .constants : {{ *(.rodata .rodata.* .data .data.* .bss .bss.*) }}
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.eh_frame*) *(.vectors) }}
}}
ASSERT(SIZEOF(.constants) == 0, \"the front has a constant, which would need an absolute address\")
"
    )
}

fn script(m: &Memory, flash: &str, place: &str, end: &str) -> String {
    let (ram, len) = (m.ram.0, m.usable());
    format!(
        "MEMORY {{
  {flash}
  RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = {len:#x}
}}
ENTRY(start)
SECTIONS {{
  .program : ALIGN({align}) {{
    _program_start = .;
    KEEP(*(.vectors))
    *(.text.start)
    *(.text .text.*)
    *(.rodata .rodata.*)
    *(.data .data.*)
    . = ALIGN(16);
    _program_end = .;
  }} > {place}
  .noinit (NOLOAD) : ALIGN(8) {{ *(.noinit .noinit.*) }} > RAM
  .bss (NOLOAD) : ALIGN(4) {{ _bss_start = .; *(.bss .bss.* COMMON) . = ALIGN(4); _bss_end = .; }} > RAM
  .stack (NOLOAD) : ALIGN(8) {{ _stack_limit = .; . = . + {stack:#x}; _stack_top = .; }} > RAM
  _noise = {ram:#x} + {len:#x};
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.eh_frame*) *(.front) }}
}}
{end}
",
        align = m.align,
        stack = m.stack,
    )
}
