//! Memory into a file, so that a read that was interrupted can go on where it stopped.
//!
//! What has been read stands as plain bytes in `FILE.ADDRESS.part` and grows by 4 KiB; the file itself appears, in
//! its format, when everything is there. A part is gone on with only if its first and its last block are still what
//! the chip says: it may be of another board.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use panel_codes::Code;
use panel_image::Image;
use stm32_rom_bootloader::{Event, Identity, ReadMemory, Step};

use super::Port;
use super::commands::Progress;
use crate::failure::Failure;
use crate::out::note;

/// Bytes between two growths of the part.
const CHUNK: u32 = 4096;
/// What is compared at either end of a part.
const CHECKED: u32 = 256;

/// A read under way.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    address: u32,
    len: u32,
    data: Vec<u8>,
    /// Bytes that an earlier read had left, once they were compared.
    resumed_at: u32,
}

impl Part {
    /// Begins a read of `len` bytes, or goes on with one.
    pub(super) fn open(output: &Path, address: u32, len: u32, resume: bool) -> Result<Self, Failure> {
        let mut path = output.as_os_str().to_owned();
        path.push(format!(".{address:08x}.part"));
        let path = PathBuf::from(path);
        let mut data = if resume { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        data.truncate(len as usize);
        let file = File::create(&path).and_then(|mut file| file.write_all(&data).map(|()| file));
        let file = file.map_err(|e| failed(&path, &e))?;
        Ok(Self { path, file, address, len, data, resumed_at: 0 })
    }

    /// How many bytes did not have to be read again.
    pub(super) const fn resumed_at(&self) -> u32 {
        self.resumed_at
    }

    /// Reads what is missing.
    pub(super) fn read(
        &mut self,
        port: &mut Port,
        connected: &mut Option<Identity>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        self.check(port, connected, progress)?;
        while self.data.len() < self.len as usize {
            let done = self.data.len() as u32;
            let len = CHUNK.min(self.len - done);
            let read = self.fetch(done, len, port, connected, progress);
            let read = read.inspect_err(|_| {
                note(&format!(
                    "{done} of {} bytes are in {}; --resume goes on there",
                    self.len,
                    self.path.display()
                ));
            })?;
            self.file.write_all(&read).map_err(|e| failed(&self.path, &e))?;
            self.data.extend(read);
        }
        Ok(())
    }

    /// Forgets what an earlier read left unless it is what the chip holds.
    fn check(
        &mut self,
        port: &mut Port,
        connected: &mut Option<Identity>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let have = self.data.len() as u32;
        let len = CHECKED.min(have);
        for from in [0, have - len] {
            if len > 0
                && self.fetch(from, len, port, connected, progress)?
                    != self.data[from as usize..][..len as usize]
            {
                note(&format!("{}: not of this chip, read anew", self.path.display()));
                self.data.clear();
                self.file = File::create(&self.path).map_err(|e| failed(&self.path, &e))?;
                return Ok(());
            }
        }
        self.resumed_at = have;
        Ok(())
    }

    fn fetch(
        &self,
        from: u32,
        len: u32,
        port: &mut Port,
        connected: &mut Option<Identity>,
        progress: &mut Progress,
    ) -> Result<Vec<u8>, Failure> {
        let operation = ReadMemory { address: self.address.saturating_add(from), len };
        let read = port.run(operation, connected.as_ref(), &mut |event| match event {
            Event::Progress { step: Step::Read, done, .. } => {
                progress.show(&Event::Progress { step: Step::Read, done: from + done, total: self.len });
            }
            other => progress.show(other),
        })?;
        *connected = Some(read.identity);
        Ok(read.data)
    }

    /// Writes the file in the format of its extension and takes the part away.
    pub(super) fn finish(self, output: &Path) -> Result<Vec<u8>, Failure> {
        let name = output.display().to_string();
        let image = || {
            Image::from_bin(&self.data, &name, self.address)
                .map_err(|e| Failure::new(Code::OutputFile, e.to_string()))
        };
        let extension = output.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let bytes = match extension.as_str() {
            "hex" | "ihex" => panel_image::intel_hex::write(&image()?).into_bytes(),
            "srec" | "s19" | "s28" | "s37" | "mot" => panel_image::srec::write(&image()?).into_bytes(),
            _ => self.data.clone(),
        };
        std::fs::write(output, bytes).map_err(|e| failed(output, &e))?;
        std::fs::remove_file(&self.path).map_err(|e| failed(&self.path, &e))?;
        Ok(self.data)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::OutputFile, format!("{}: {error}", path.display()))
}
