//! Programs as the toolchain left them: the segments of an ELF file and its symbols.

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};

/// A program that can be put into flash or RAM.
#[derive(Debug, Clone)]
pub struct Program {
    /// Load address and bytes of each segment.
    pub segments: Vec<(u32, Vec<u8>)>,
    /// Where it starts.
    pub entry: u32,
    symbols: Vec<(String, u32)>,
}

/// A file that is no such program.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no 32-bit ELF.
    #[error("{path}: {source}")]
    Format {
        /// Its path.
        path: String,
        /// Why.
        source: object::Error,
    },
}

impl Program {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// [`ElfError`]: it is missing or no 32-bit ELF.
    pub fn read(path: &std::path::Path) -> Result<Self, ElfError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| ElfError::File { path: name.clone(), source })?;
        Self::parse(&bytes).map_err(|source| ElfError::Format { path: name, source })
    }

    fn parse(bytes: &[u8]) -> Result<Self, object::Error> {
        let file = ElfFile32::<Endianness>::parse(bytes)?;
        let endian = file.endian();
        let mut segments = Vec::new();
        for header in file.elf_header().program_headers(endian, bytes)? {
            let data = header.data(endian, bytes).unwrap_or_default();
            if header.p_type(endian) == PT_LOAD && !data.is_empty() {
                segments.push((header.p_paddr(endian), data.to_vec()));
            }
        }
        let symbols = file.symbols().filter_map(|s| Some((s.name().ok()?.to_owned(), s.address() as u32)));
        Ok(Self { segments, entry: file.entry() as u32, symbols: symbols.collect() })
    }

    /// Address of a symbol.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<u32> {
        self.symbols.iter().find(|s| s.0 == name).map(|s| s.1)
    }

    /// Name of the function that holds an address: the nearest symbol below it.
    #[must_use]
    pub fn function(&self, address: u32) -> Option<&str> {
        let below = self.symbols.iter().filter(|s| s.1 & !1 <= address && !s.0.starts_with('$'));
        below.max_by_key(|s| s.1 & !1).map(|s| s.0.as_str())
    }

    /// First address and bytes of the whole, gaps filled with 0xFF.
    #[must_use]
    pub fn flat(&self) -> (u32, Vec<u8>) {
        let from = self.segments.iter().map(|s| s.0).min().unwrap_or(0);
        let end = self.segments.iter().map(|s| s.0 + s.1.len() as u32).max().unwrap_or(0);
        let mut bytes = vec![0xFF; (end - from) as usize];
        for (address, part) in &self.segments {
            let at = (address - from) as usize;
            bytes[at..at + part.len()].copy_from_slice(part);
        }
        (from, bytes)
    }
}
