//! The ROM bootloader of an emulated chip: the simulated ROM, and Go into what really lies in RAM.
//!
//! ST's code is nobody's to run here, so the ROM is the model that `panel-simulator` uses too. Flash is told to it when it
//! starts and taken back when it has changed; what it wrote into RAM is put there before the processor starts. After Go
//! peripherals are as after reset, the stack pointer is the program's, and VTOR still says system memory (AN3155,
//! section 3.5; AN2606, "Exit").
//!
//! Invariant: either the ROM runs or the processor does. Called by the board at every start, and while the ROM runs.

use core::time::Duration;

use panel_protocol::frame::Frame;
use panel_simulator::{CanPort, Loader, RomLink};
use rom_simulator::State;

use crate::board::{Board, BoardConfig};
use crate::flash::FLASH_BASE;
use crate::wires::Reset;

/// A chip's ROM.
pub(crate) struct Rom {
    loader: Loader,
    running: bool,
}

impl Rom {
    /// The ROM of this board's chip; `None` if it does not listen on this kind of line.
    pub(crate) fn new(config: &BoardConfig, link: RomLink) -> Option<Self> {
        let model = panel_simulator::Chip::by_name(config.chip.name())?.rom()?;
        let loader = Loader::new(link, Duration::ZERO, model, Vec::new(), config.seed, config.uid.0)?;
        Some(Self { loader, running: false })
    }
}

impl Board {
    /// The loader, while it has the chip.
    fn loader(&mut self) -> Option<&mut Loader> {
        self.rom.as_mut().filter(|rom| rom.running).map(|rom| &mut rom.loader)
    }

    /// When the ROM wants to live on; `None` while it does not run.
    pub(crate) fn rom_due(&self) -> Option<u64> {
        self.rom.as_ref().filter(|rom| rom.running).map(|rom| rom.loader.due())
    }

    pub(crate) fn set_boot0(&mut self, high: bool) {
        if let Some(rom) = &mut self.rom {
            rom.loader.set_boot0(high);
        }
    }

    /// The chip was reset: the program in flash starts, or the ROM where BOOT0 leads to it.
    pub(crate) fn boot(&mut self, at: u64) {
        if let Some(rom) = &mut self.rom {
            let flash = self.processor.soc().flash().data();
            rom.loader.chip_mut().flash_mut().preload(0, flash);
            rom.loader.set_power(at, false);
            rom.loader.set_power(at, true);
            rom.running = !matches!(rom.loader.state(), State::Application(_));
        }
        if self.rom_due().is_none() {
            self.processor.start(at, FLASH_BASE);
        }
    }

    /// Power or reset takes the chip from the ROM.
    pub(crate) fn halt_rom(&mut self, now: u64) {
        if let Some(rom) = self.rom.as_mut().filter(|rom| rom.running) {
            rom.loader.advance(now);
            rom.loader.set_power(now, false);
            rom.running = false;
            self.take_flash();
        }
    }

    /// Runs the ROM until `now`; `None` if it does not have the chip, else whether the port's host can read something new.
    pub(crate) fn run_rom(&mut self, now: u64, port: &mut Option<&mut CanPort<'_>>) -> Option<bool> {
        let loader = self.loader()?;
        let readable = loader.advance(now);
        match (loader.state(), port) {
            (State::Application(entry), port) => self.go(now, entry, port),
            (_, Some(port)) => loader.follow(now, port),
            (_, None) => {}
        }
        self.take_flash();
        Some(readable)
    }

    /// The ROM hands over to a program in RAM or flash, or resets the chip.
    fn go(&mut self, now: u64, entry: Option<u32>, port: &mut Option<&mut CanPort<'_>>) {
        let Some(rom) = &mut self.rom else { return };
        rom.running = false;
        let written = rom.loader.chip_mut().take_ram_changes();
        if let Some(port) = port {
            port.disconnect();
        }
        self.take_flash();
        let Some(entry) = entry else { return self.restart(now, Reset::Software) };
        for (address, bytes) in written {
            self.processor.spoil(address, &bytes);
        }
        self.processor.start(now, entry);
    }

    /// What the ROM has done to the flash.
    fn take_flash(&mut self) {
        let Some(rom) = &mut self.rom else { return };
        let flash = rom.loader.chip_mut().flash_mut();
        let changes: Vec<(usize, Vec<u8>)> = flash
            .take_changes()
            .into_iter()
            .filter_map(|(at, len)| Some((at, flash.bytes().get(at..at + len)?.to_vec())))
            .collect();
        for (at, bytes) in changes {
            self.flash_mut().preset(FLASH_BASE + at as u32, &bytes);
        }
    }

    /// A frame for the ROM; false if it does not have the chip.
    pub(crate) fn rom_receive(&mut self, now: u64, frame: &Frame) -> bool {
        self.loader().map(|loader| loader.receive(now, frame)).is_some()
    }

    /// A frame of the ROM's is gone; false if it does not have the chip.
    pub(crate) fn rom_sent(&mut self, now: u64, port: &mut CanPort<'_>) -> bool {
        self.loader().map(|loader| loader.send(now, port)).is_some()
    }

    pub(crate) fn port_write(&mut self, now: u64, bytes: &[u8]) {
        if let Some(loader) = self.loader() {
            loader.port_write(now, bytes);
        }
    }

    pub(crate) fn port_read(&mut self, now: u64) -> Vec<u8> {
        self.rom.as_mut().map(|rom| rom.loader.port_read(now)).unwrap_or_default()
    }

    pub(crate) fn port_configure(&mut self, baud: u32) {
        if let Some(rom) = &mut self.rom {
            rom.loader.port_configure(baud);
        }
    }
}
