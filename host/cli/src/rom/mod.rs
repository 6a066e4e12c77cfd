//! `panelflash rom`: the engineer's tool for one board in its ROM bootloader, over a serial port or a CAN bus.
//!
//! `drive` and `can_drive` move bytes and frames between a session of `stm32-rom-bootloader` and the wire, `lines` resets the chip, `virtual_port` between it and a
//! simulated chip, `commands` are the commands, `attempt` and `own` are one board's way through a job, `read_out` reads memory into
//! a file, `explain` turns errors into codes. Nothing here knows the ROM's protocol.

pub(crate) mod attempt;
mod can_drive;
mod commands;
mod drive;
mod explain;
mod lines;
mod own;
mod read_out;
pub(crate) mod virtual_port;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

pub(crate) use commands::{Progress, chip_name, consent, rom, supply};
pub(crate) use drive::Port;
pub(crate) use explain::{explain, plan_failure, with_the_way_in};

#[derive(Debug, Args)]
pub(crate) struct RomArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    port: PortArgs,
    /// Print one JSON object with the result to stdout; progress goes to stderr.
    #[arg(long, global = true)]
    json: bool,
}

/// The port and what is on it.
#[derive(Debug, Clone, Args)]
pub(crate) struct PortArgs {
    /// The serial port, such as /dev/serial/by-path/... or /dev/pts/3.
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) port: Option<PathBuf>,
    /// The CAN interface, such as can0, slcan:/dev/serial/by-path/... or tcp://HOST:PORT; nothing but the chip may be
    /// on its bus. Set it to 125 kbit/s, with --fd to 250 kbit/s and 1 Mbit/s for data.
    #[arg(long, value_name = "IF", global = true)]
    pub(crate) can: Option<String>,
    /// The ROM speaks CAN FD (AN5405).
    #[arg(long, global = true)]
    pub(crate) fd: bool,
    /// Baud rate. ST promises 1200 to 115200; many chips do more.
    #[arg(long, default_value_t = 115_200, global = true)]
    pub(crate) baud: u32,
    /// How long the adapter sits on received bytes, in ms [default: read from the system, else 1].
    #[arg(long, value_name = "MS", global = true)]
    pub(crate) latency: Option<u64>,
    #[command(flatten)]
    pub(crate) lines: lines::LineArgs,
    /// Treat the chip as this one, whatever it says, such as STM32F405.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) force_device: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what the chip is: product, ROM version, UID, flash size, option bytes, protection.
    Info,
    /// Read memory into a file: binary, or Intel HEX or S-record by the file's extension.
    Read {
        /// First address.
        #[arg(long, value_parser = number)]
        address: u32,
        /// Number of bytes, such as 65536 or 64KiB.
        #[arg(long, value_parser = number)]
        length: u32,
        /// File to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// A read was interrupted: go on behind what it left in FILE.ADDRESS.part, after comparing that with the chip.
        #[arg(long)]
        resume: bool,
    },
    /// Erase what the file touches, write it, and read it back.
    Write {
        /// Binary, Intel HEX, S-record or ELF.
        file: PathBuf,
        #[command(flatten)]
        image: ImageArgs,
        /// Do not read back.
        #[arg(long)]
        no_verify: bool,
        /// A write was interrupted: read first, and erase and write only what differs.
        #[arg(long)]
        resume: bool,
        /// Erase the whole flash first.
        #[arg(long)]
        mass_erase: bool,
        /// Start the application afterwards.
        #[arg(long)]
        go: bool,
        /// Lift readout protection if it is on; THIS ERASES THE WHOLE CHIP. Needs --yes.
        #[arg(long)]
        unprotect: bool,
        /// Supply voltage of the board in volts: F2, F4 and F7 are then programmed by words, four times as fast.
        /// A wrong value corrupts flash.
        #[arg(long, value_name = "V")]
        voltage: Option<f64>,
        /// Do what erases everything without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Compare flash with a file.
    Verify {
        /// Binary, Intel HEX, S-record or ELF.
        file: PathBuf,
        #[command(flatten)]
        image: ImageArgs,
    },
    /// Erase the whole flash, or the units that an area touches.
    Erase {
        /// First address; without it, everything.
        #[arg(long, requires = "length", value_parser = number)]
        address: Option<u32>,
        /// Number of bytes.
        #[arg(long, requires = "address", value_parser = number)]
        length: Option<u32>,
        /// Erase everything without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Start the code whose vector table is at an address.
    Go {
        /// Address of the vector table.
        #[arg(long, value_parser = number)]
        address: u32,
    },
    /// Show the option bytes, or write them.
    Option {
        /// Bytes in hexadecimal, from the first option byte on.
        #[arg(long, value_name = "HEX")]
        write: Option<String>,
        /// Allow a value that closes the chip FOR EVER (readout protection level 2, product state locked).
        #[arg(long)]
        close_the_chip_for_ever: bool,
    },
    /// Set readout protection (level 1), or write protection.
    Protect {
        /// Protect these write protection units instead.
        #[arg(long, value_name = "UNITS", value_delimiter = ',')]
        write: Vec<u8>,
    },
    /// Lift readout protection, which ERASES THE WHOLE CHIP, or write protection.
    Unprotect {
        /// Lift write protection instead; keeps the flash.
        #[arg(long)]
        write: bool,
        /// Erase everything without asking.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct ImageArgs {
    /// Where a binary belongs; the other formats say it themselves [default for a binary: start of flash].
    #[arg(long, value_parser = number)]
    address: Option<u32>,
}

impl PortArgs {
    fn latency(&self) -> Option<Duration> {
        self.latency.map(Duration::from_millis)
    }
}

/// A number: decimal, hexadecimal with 0x, or with the unit KiB or MiB.
pub(crate) fn number(text: &str) -> Result<u32, String> {
    let (digits, scale) = match text.to_ascii_lowercase() {
        t if t.ends_with("kib") => (t[..t.len() - 3].trim_end().to_owned(), 1024),
        t if t.ends_with("mib") => (t[..t.len() - 3].trim_end().to_owned(), 1024 * 1024),
        t => (t, 1),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.ok().and_then(|v| v.checked_mul(scale));
    value.ok_or_else(|| format!("`{text}` is not a number such as 65536, 0x08000000 or 64KiB below 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_decimal_hexadecimal_or_have_a_unit() {
        assert_eq!(number("1024"), Ok(1024));
        assert_eq!(number("0x08000000"), Ok(0x0800_0000));
        assert_eq!(number("64KiB"), Ok(65536));
        assert!(number("4096MiB").is_err() && number("x").is_err() && number("").is_err());
    }
}
