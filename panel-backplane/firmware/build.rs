//! Finds the board file and writes the linker script for the chip: the one place that knows RAM; how
//! much flash the bootloader keeps is in `panel-layout`.
//!
//! The board is named by `PANELFLASH_BOARD` (a file in `boards/`); its name begins with the chip's.

use panel_layout::{F1, F4, G0, G4, Resident};
use panel_packed::windows;
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
    /// Weights at which the windows of what unpacks begin (`panel-packed`): the more, the less do they disturb each other.
    span: u32,
    /// Alignment of the vector table: the next power of two above its size.
    align: u32,
}

const KIB: u32 = 1024;

impl Memory {
    /// The address after the RAM that a program may use.
    fn end(&self) -> u32 {
        self.ram.0 + self.ram.1 - MAILBOX - NOISE
    }

    /// The front's stack at the end of what the program will use, with the weights on it.
    fn front_stack(&self) -> u32 {
        2 * (self.span + windows::WEIGHTS) + 256
    }
}

const CHIPS: [Memory; 5] = [
    Memory {
        chip: "f405",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_3000,
        resident: F4,
        stack: 8 * KIB,
        span: 32 * KIB,
        align: 512,
    },
    Memory {
        chip: "g431",
        ram: (0x2000_0000, 32 * KIB),
        agent: 0x2000_4000,
        resident: G4,
        stack: 2 * KIB,
        span: 3600,
        align: 512,
    },
    Memory {
        chip: "g474",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_4000,
        resident: G4,
        stack: 8 * KIB,
        span: 32 * KIB,
        align: 512,
    },
    Memory {
        chip: "f103",
        ram: (0x2000_0000, 64 * KIB),
        agent: 0x2000_0200,
        resident: F1,
        stack: 8 * KIB,
        span: 16 * KIB,
        align: 512,
    },
    Memory {
        chip: "g0b1",
        ram: (0x2000_0000, 144 * KIB),
        agent: 0x2000_4000,
        resident: G0,
        stack: 8 * KIB,
        span: 52 * KIB,
        align: 256,
    },
];

/// What lies at the end of RAM: memory that no program of ours writes, because a board's nonce is made of what it holds; the
/// mailbox, notes between application and bootloader.
const NOISE: u32 = 256;
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
        in_ram(memory, memory.agent, memory.end() - memory.agent)
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

/// Program at the beginning of RAM, where the front puts it. `panel-packed` reads from the symbols where the packed image
/// is loaded, how large it may be, and where it ends when it has moved to unpack.
fn in_ram(m: &Memory, load: u32, limit: u32) -> String {
    let symbols = format!(
        "_packed_load = {load:#x};
_packed_limit = {limit:#x};
_packed_end = {:#x};",
        m.end() - m.front_stack()
    );
    script(m, &symbols)
}

/// What unpacks: instructions only, at 0 because it goes elsewhere.
fn front(m: &Memory) -> String {
    let (stack, span, weights) = (m.end(), m.span, 2 * (m.span + windows::WEIGHTS));
    format!(
        "ENTRY(front_start)
_front_stack = {stack:#x};
_front_span = {span};
_front_weights = {weights};
SECTIONS {{
  .front 0 : {{ KEEP(*(.front)) *(.text .text.*) . = ALIGN(4); }}
  .constants : {{ *(.rodata .rodata.* .data .data.* .bss .bss.*) }}
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.eh_frame*) *(.vectors) }}
}}
ASSERT(SIZEOF(.constants) == 0, \"the front has a constant, which would need an absolute address\")
"
    )
}

fn script(m: &Memory, end: &str) -> String {
    let (ram, len) = (m.ram.0, m.end() - m.ram.0);
    format!(
        "MEMORY {{
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
  }} > RAM
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
