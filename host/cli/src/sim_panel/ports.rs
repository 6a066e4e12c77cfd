//! Serial ports of simulated boards in their ROM bootloader, a pseudo-terminal for each slot or each multiplexer.
//!
//! The baud rate that the host sets is followed. A pseudo-terminal has no parity bit: bytes count as sent with even
//! parity, as AN3155 wants it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use panel_simulator::World;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::sim_mux::SimMux;

/// A pseudo-terminal, raw, with the other end kept open: it stays plugged in when its host goes away.
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    slave: OwnedFd,
    pub(super) path: String,
    alias: Option<PathBuf>,
}

impl Terminal {
    /// A terminal, also reachable as `alias` if that is given.
    pub(super) fn open(alias: Option<&Path>) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut raw = tcgetattr(&slave)?;
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let path = path.to_string_lossy().into_owned();
        if let Some(alias) = alias {
            if alias.is_symlink() {
                std::fs::remove_file(alias)?;
            }
            std::os::unix::fs::symlink(&path, alias)?;
        }
        Ok(Self { master, slave, path, alias: alias.map(Path::to_owned) })
    }

    /// The name under which it was meant to be opened.
    pub(super) fn name(&self) -> String {
        self.alias.as_ref().map_or_else(|| self.path.clone(), |alias| alias.display().to_string())
    }

    /// The rate that the host has set.
    fn baud(&self) -> Option<u32> {
        tcgetattr(&self.slave).ok().map(|settings| settings.input_speed()).filter(|&baud| baud > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(alias) = &self.alias {
            _ = std::fs::remove_file(alias);
        }
    }
}

/// A port, and the slots that it leads to: one, or several through a multiplexer.
pub(super) struct SlotPort {
    /// Each with the baud rate that it was last told.
    slots: Vec<(u16, u32)>,
    terminal: Terminal,
    out: VecDeque<u8>,
}

impl SlotPort {
    pub(super) fn open(slot: u16, path: &Path, baud: u32) -> io::Result<Self> {
        let terminal = Terminal::open(Some(path))?;
        Ok(Self { slots: vec![(slot, baud)], terminal, out: VecDeque::new() })
    }

    /// The port leads to this slot, too.
    pub(super) fn add(&mut self, slot: u16, baud: u32) {
        self.slots.push((slot, baud));
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u16> {
        self.slots.iter().map(|(slot, _)| *slot)
    }

    pub(super) fn name(&self) -> String {
        self.terminal.name()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.terminal.master.as_fd()
    }

    /// Hands the host's bytes to the board that the port leads to now.
    pub(super) fn read(&mut self, world: &mut World, mux: &SimMux) {
        let mut buffer = [0; 512];
        if let Ok(count @ 1..) = rustix::io::read(&self.terminal.master, &mut buffer)
            && let Some((slot, told)) = self.slots.iter_mut().find(|(slot, _)| mux.reaches(*slot))
        {
            let baud = self.terminal.baud().unwrap_or(*told);
            if baud != *told {
                *told = baud;
                world.port_configure(*slot, baud);
            }
            world.port_write(*slot, &buffer[..count]);
        }
    }

    /// Hands that board's bytes to the host.
    pub(super) fn write(&mut self, world: &mut World, mux: &SimMux) {
        for (slot, _) in &self.slots {
            let bytes = world.port_read(*slot);
            if mux.reaches(*slot) {
                self.out.extend(bytes);
            }
        }
        while !self.out.is_empty()
            && let Ok(count) = rustix::io::write(&self.terminal.master, self.out.as_slices().0)
        {
            self.out.drain(..count);
        }
    }
}
