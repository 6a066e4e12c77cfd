//! Finds the board file and writes the linker script for the chip: the one place that knows memory sizes.
//!
//! The board is named by `PANELFLASH_BOARD` (a file in `boards/`); its name begins with the chip's.

use std::{env, fs, path::Path};

/// A chip's memory, in bytes.
struct Memory {
    chip: &'static str,
    ram: (u32, u32),
    /// First address of RAM that the ROM bootloader does not use (AN2606).
    agent: u32,
    /// Flash kept for the resident bootloader: whole erase units.
    resident: u32,
    /// The same for a board with a public key, whose bootloader has the curve in it.
    sealed: u32,
    stack: u32,
    /// The program stays in flash: RAM has no room for it.
    in_place: bool,
    /// Alignment of the vector table: the next power of two above its size.
    align: u32,
}

const KIB: u32 = 1024;

const CHIPS: [Memory; 5] = [
    Memory {
        chip: "f405",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_3000,
        resident: 32 * KIB,
        sealed: 48 * KIB,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "g431",
        ram: (0x2000_0000, 32 * KIB),
        agent: 0x2000_4000,
        resident: 32 * KIB,
        sealed: 40 * KIB,
        stack: 8 * KIB,
        align: 512,
        in_place: true,
    },
    Memory {
        chip: "g474",
        ram: (0x2000_0000, 128 * KIB),
        agent: 0x2000_4000,
        resident: 32 * KIB,
        sealed: 40 * KIB,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "f103",
        ram: (0x2000_0000, 64 * KIB),
        agent: 0x2000_0200,
        resident: 32 * KIB,
        sealed: 40 * KIB,
        stack: 8 * KIB,
        align: 512,
        in_place: false,
    },
    Memory {
        chip: "g0b1",
        ram: (0x2000_0000, 144 * KIB),
        agent: 0x2000_4000,
        resident: 40 * KIB,
        sealed: 48 * KIB,
        stack: 8 * KIB,
        align: 256,
        in_place: false,
    },
];

/// Largest agent: the ROM bootloader loads it board by board.
const AGENT_LIMIT: u32 = 32 * KIB;
/// The notes between application and bootloader, at the end of RAM.
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
    let size = if has_key { memory.sealed } else { memory.resident };
    fs::write(Path::new(&out).join("resident_size.rs"), format!("{size:#x}")).expect("OUT_DIR");
    for (binary, script) in [("bootloader", resident(memory, size)), ("agent", agent(memory))] {
        let path = Path::new(&out).join(format!("{binary}.ld"));
        fs::write(&path, script).expect("OUT_DIR");
        println!("cargo:rustc-link-arg-bin={binary}=-T{}", path.display());
        println!("cargo:rustc-link-arg-bin={binary}=--nmagic"); // no ELF headers in what is loaded
    }
}

/// Program in RAM, loaded from flash behind the code that copies it.
fn resident(m: &Memory, size: u32) -> String {
    let flash = format!("FLASH (rx) : ORIGIN = 0x08000000, LENGTH = {size:#x}");
    if m.in_place {
        return script(m, m.ram.0, m.ram.1 - MAILBOX, &flash, "ENTRY(start)", "> FLASH", "");
    }
    let head = "ENTRY(flash_start)\n.flash_start : { KEEP(*(.flash_start)) . = ALIGN(16); } > FLASH";
    script(m, m.ram.0, m.ram.1 - MAILBOX, &flash, head, "> RAM AT > FLASH", "")
}

/// Program in RAM, loaded there by the ROM.
fn agent(m: &Memory) -> String {
    let used = m.agent - m.ram.0;
    let check = format!(
        "ASSERT(_program_end - _program_start <= {AGENT_LIMIT:#x}, \"the agent is larger than its budget\")"
    );
    script(m, m.agent, m.ram.1 - used - MAILBOX, "", "ENTRY(start)", "> RAM", &check)
}

fn script(m: &Memory, ram: u32, len: u32, flash: &str, head: &str, place: &str, check: &str) -> String {
    let (head_entry, head_section) = head.split_once('\n').unwrap_or((head, ""));
    format!(
        "MEMORY {{
  {flash}
  RAM (rwx) : ORIGIN = {ram:#x}, LENGTH = {len:#x}
}}
{head_entry}
SECTIONS {{
  {head_section}
  .program : ALIGN({align}) {{
    _program_start = .;
    KEEP(*(.vectors))
    *(.text.start)
    *(.text .text.*)
    *(.rodata .rodata.*)
    *(.data .data.*)
    . = ALIGN(16);
    _program_end = .;
  }} {place}
  _load = LOADADDR(.program);
  .noinit (NOLOAD) : ALIGN(8) {{ *(.noinit .noinit.*) }} > RAM
  .bss (NOLOAD) : ALIGN(4) {{ _bss_start = .; *(.bss .bss.* COMMON) . = ALIGN(4); _bss_end = .; }} > RAM
  .stack (NOLOAD) : ALIGN(8) {{ _stack_limit = .; . = . + {stack:#x}; _stack_top = .; }} > RAM
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.eh_frame*) *(.flash_start) }}
}}
{check}
",
        align = m.align,
        stack = m.stack,
    )
}
