//! Everything that can be read about a chip without changing it.

use super::{Operation, sealed::Sealed};
use crate::command::{Command, Opcode, Reply};
use crate::device::{OptionBytes, RdpLevel};
use crate::error::Error;
use crate::event::Step;
use crate::rom::{Identity, Rom};

/// Connects and reads what there is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inspect;

/// Something that may not be readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<T> {
    /// It is this.
    Value(T),
    /// The ROM refused.
    Refused,
    /// No source says where it is.
    Unknown,
    /// This ROM version is known not to give it out.
    Unreadable,
}

impl<T> Field<T> {
    /// The value, if there is one.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Refused | Self::Unknown | Self::Unreadable => None,
        }
    }

    fn map<U>(self, f: impl FnOnce(T) -> Option<U>) -> Field<U> {
        match self {
            Self::Value(value) => f(value).map_or(Field::Unknown, Field::Value),
            Self::Refused => Field::Refused,
            Self::Unknown => Field::Unknown,
            Self::Unreadable => Field::Unreadable,
        }
    }
}

/// What [`Inspect`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The chip; [`Identity::protected`] is always known here if Read is listed.
    pub identity: Identity,
    /// Protocol version by Get Version, which some ROMs give differently from Get.
    pub version: Option<u8>,
    /// The unique ID, as the bytes stand in memory.
    pub uid: Field<[u8; 12]>,
    /// Flash size in KiB.
    pub flash_kib: Field<u16>,
    /// Option bytes, all blocks one after the other.
    pub option_bytes: Field<Vec<u8>>,
    /// Readout protection by the option bytes.
    pub readout: Option<RdpLevel>,
    /// First two words of flash: initial stack pointer and reset vector, or blank.
    pub vectors: Field<[u32; 2]>,
}

impl Info {
    /// Whether flash begins with an erased vector table; `None` if it could not be read.
    #[must_use]
    pub fn is_blank(&self) -> Option<bool> {
        let erased = u32::from_ne_bytes([self.identity.device?.family.erased_value(); 4]);
        self.vectors.value().map(|vectors| *vectors == [erased; 2])
    }
}

impl Sealed for Inspect {}

impl Operation<'_> for Inspect {
    type Outcome = Info;

    async fn run(self, mut rom: Rom) -> Result<Info, Error> {
        let mut identity = rom.start().await?;
        rom.begin(Step::Read);
        let version = match identity.lists(Opcode::GET_VERSION) {
            true => match rom.run(&Command::GetVersion).await? {
                Reply::Version(version) => Some(version),
                _ => None,
            },
            false => None,
        };
        let mut info = Info {
            identity: identity.clone(),
            version,
            uid: Field::Unknown,
            flash_kib: Field::Unknown,
            option_bytes: Field::Unknown,
            readout: None,
            vectors: Field::Unknown,
        };
        if identity.protected != Some(true) && identity.lists(Opcode::READ) {
            match info.read_fields(&mut rom).await {
                Ok(()) => identity.protected = Some(false),
                Err(Error::Protected { .. }) => identity.protected = Some(true),
                Err(error) => return Err(error),
            }
        }
        if identity.protected == Some(true) {
            info.readout = Some(RdpLevel::One);
        }
        info.identity = identity;
        Ok(info)
    }
}

impl Info {
    /// [`Error::Protected`] if the ROM refuses to read at all.
    async fn read_fields(&mut self, rom: &mut Rom) -> Result<(), Error> {
        let Some(device) = rom.device() else { return Ok(()) };
        if let Some(flash) = device.flash {
            self.vectors = bytes(rom, flash.start, 8).await?.map(|bytes| {
                let (words, _) = bytes.as_chunks::<4>();
                Some([u32::from_le_bytes(*words.first()?), u32::from_le_bytes(*words.get(1)?)])
            });
        }
        self.read_engineering_bytes(rom).await?;
        if let OptionBytes::Memory(areas) = device.option_bytes {
            let mut all = Field::Value(Vec::new());
            for area in areas {
                let part = bytes(rom, area.start, area.len() as usize).await?;
                all = match (all, part) {
                    (Field::Value(mut all), Field::Value(part)) => {
                        all.extend(part);
                        Field::Value(all)
                    }
                    (Field::Value(_), missing) | (missing, _) => missing,
                };
            }
            let rdp = all.value().and_then(|bytes| bytes.get(device.family.rdp_offset()).copied());
            self.readout = rdp.and_then(|byte| device.readout.level(byte));
            self.option_bytes = all;
        }
        Ok(())
    }

    async fn read_engineering_bytes(&mut self, rom: &mut Rom) -> Result<(), Error> {
        let Some(device) = rom.device() else { return Ok(()) };
        if !rom.traits().uid_readable {
            (self.uid, self.flash_kib) = (Field::Unreadable, Field::Unreadable);
            return Ok(());
        }
        let size_address = device.flash_size_address;
        let mut block = None;
        if let Some([low, high]) = device.uid_parts() {
            // Where reads must be whole blocks, one block usually has the size register too.
            if rom.traits().whole_block_reads {
                block =
                    rom.read_system(low.start & !0xFF, 256).await?.map(|bytes| (low.start & !0xFF, bytes));
            }
            let span = (high.end - low.start + 1) as usize;
            let read = match within(block.as_ref(), low.start, span) {
                Some(bytes) => Field::Value(bytes),
                None => bytes(rom, low.start, span).await?,
            };
            let gap = (high.start - low.start) as usize;
            self.uid = read.map(|bytes| [bytes.get(..8)?, bytes.get(gap..gap + 4)?].concat().try_into().ok());
        }
        if let Some(address) = size_address {
            let read = match within(block.as_ref(), address, 2) {
                Some(bytes) => Field::Value(bytes),
                None => bytes(rom, address, 2).await?,
            };
            self.flash_kib =
                read.map(|bytes| device.decode_flash_size(u16::from_le_bytes(bytes.try_into().ok()?)));
        }
        Ok(())
    }
}

/// Bytes of a block that has been read already.
fn within(block: Option<&(u32, Vec<u8>)>, address: u32, len: usize) -> Option<Vec<u8>> {
    let (start, bytes) = block?;
    let offset = address.checked_sub(*start)? as usize;
    bytes.get(offset..offset + len).map(<[u8]>::to_vec)
}

async fn bytes(rom: &mut Rom, address: u32, len: usize) -> Result<Field<Vec<u8>>, Error> {
    Ok(rom.read_system(address, len).await?.map_or(Field::Refused, Field::Value))
}
