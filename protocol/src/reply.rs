//! Replies: what a node answers when one frame is not enough, in parts of seven bytes.
//!
//! A reply is `kind, fields`; the end is marked in the last part, so readers ignore trailing bytes they do not
//! know. One reply is in flight per node; a request that arrives meanwhile is answered when it is repeated.

use crate::CRC32;
use crate::bytes::{Reader, Writer};
use crate::message::Refusal;
use crate::node::{Capabilities, EraseRun, FlashFacts, MAX_RUNS, Protection, ResetCause, Uid};
use crate::time::{Count, Span};

/// Longest reply in bytes.
pub const MAX_REPLY: usize = 208;
/// Most bytes of memory in one reply.
pub const MAX_READ: usize = 192;

/// What the image records in flash say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ImageState {
    /// No record.
    None = 0,
    /// An update was begun and not committed.
    Incomplete = 1,
    /// The last update was committed.
    Valid = 2,
    /// The last update was committed; its image is in the second slot and is being installed.
    Staged = 3,
}

/// What the host needs to know of every node: short, because 64 boards answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Protocol version the node speaks.
    pub version: u8,
    /// 12-bit device ID.
    pub device_id: u16,
    /// The board's hardware revision.
    pub hardware_revision: u16,
    /// Bootloader or agent version.
    pub bootloader_version: u16,
    /// What the node can do.
    pub capabilities: Capabilities,
    /// Why it last started.
    pub reset_cause: ResetCause,
    /// Readout protection in force.
    pub protection: Protection,
    /// Supply in millivolts; 0 if unknown.
    pub supply_mv: u16,
    /// What the image records say.
    pub image: ImageState,
    /// First four bytes of the recorded image's ID.
    pub image_id: u32,
    /// CRC-32 over the node's [`Profile`]: equal means equal, so one board of a kind is asked for it.
    pub profile_crc: u32,
    /// CRC-32 over UID and nonce: confirms that this number is the board the host thinks it is.
    pub uid_check: u32,
    /// The board takes no image whose seal has a lower counter; 0 for any. On the wire only if it is not 0.
    pub floor: u32,
}

/// What boards of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Silicon revision.
    pub silicon_revision: u16,
    /// Geometry, rules and times of the flash.
    pub flash: FlashFacts,
    /// Segment buffers in RAM.
    pub buffers: u16,
    /// Most segments in one image.
    pub max_segments: u16,
}

/// Result of reading a region back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionCheck {
    /// Region number.
    pub region: u8,
    /// CRC-32 and SHA-256 of the flash are those of the manifest.
    pub matches: bool,
    /// CRC-32 of the flash.
    pub crc: u32,
}

/// Bus and session statistics since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Transmit error counter.
    pub tec: u8,
    /// Receive error counter.
    pub rec: u8,
    /// Frames lost to a full receive FIFO.
    pub overruns: u16,
    /// Bus errors seen.
    pub errors: u16,
    /// Data frames received.
    pub data_frames: u32,
    /// Chunks reported missing.
    pub missed: u32,
    /// Chunks dropped because no segment buffer was free.
    pub dropped: u32,
    /// Times the node asked for a pause.
    pub holds: u16,
}

impl Statistics {
    /// Nothing has happened.
    pub(crate) const NONE: Self =
        Self { tec: 0, rec: 0, overruns: 0, errors: 0, data_frames: 0, missed: 0, dropped: 0, holds: 0 };
}

/// A node's reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply<'a> {
    /// To `Identify(Info)`.
    Info(Info),
    /// To `Identify(Profile)`.
    Profile(Profile),
    /// To `Verify`.
    RegionCheck(RegionCheck),
    /// To `Digest`: region and SHA-256 of its flash.
    Digest(u8, [u8; 32]),
    /// To `Read`: address and bytes.
    Memory(u32, &'a [u8]),
    /// Outcome of the command with this opcode.
    Done {
        /// Opcode of the command.
        opcode: u8,
        /// Why not, if not.
        refusal: Option<Refusal>,
        /// Address or number that tells more.
        detail: u32,
    },
    /// To `Test`.
    Reading {
        /// Number of the item.
        item: u8,
        /// The request's token.
        token: u8,
        /// Unit code.
        unit: u8,
        /// The measurement.
        value: f32,
    },
    /// To `Statistics`.
    Statistics(Statistics),
}

impl Reply<'_> {
    /// The reply's bytes; returns how many of `out` are used.
    pub fn encode(&self, out: &mut [u8; MAX_REPLY]) -> usize {
        let w = &mut Writer::new(out);
        match *self {
            Self::Info(ref info) => put_info(w, info),
            Self::Profile(Profile { silicon_revision, ref flash, buffers, max_segments }) => {
                put_profile(w, silicon_revision, flash, buffers, max_segments);
            }
            Self::RegionCheck(check) => put_check(w, check),
            Self::Digest(region, ref sha256) => put_digest(w, region, sha256),
            Self::Memory(address, bytes) => {
                put_memory(w, address).put(&bytes[..bytes.len().min(MAX_READ)]);
            }
            Self::Done { opcode, refusal, detail } => put_done(w, opcode, refusal, detail),
            Self::Reading { item, token, unit, value } => put_reading(w, item, token, unit, value),
            Self::Statistics(ref statistics) => put_statistics(w, statistics),
        }
        w.len()
    }
}

impl<'a> Reply<'a> {
    /// The reply in these bytes, or `None` if they are not one this version knows.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(bytes);
        Self::read(r).filter(|_| !r.is_short())
    }

    fn read(r: &mut Reader<'a>) -> Option<Self> {
        Some(match r.u8() {
            1 => return read_info(r).map(Self::Info),
            2 => return read_profile(r).map(Self::Profile),
            3 => Self::RegionCheck(RegionCheck { region: r.u8(), matches: r.u8() & 1 != 0, crc: r.u32() }),
            4 => Self::Digest(r.u8(), r.array()),
            5 => Self::Memory(r.u32(), r.rest()),
            6 => {
                let (opcode, code) = (r.u8(), r.u8());
                let refusal = match (code, Refusal::from_byte(code)) {
                    (0, _) => None,
                    (_, Some(refusal)) => Some(refusal),
                    (_, None) => return None,
                };
                Self::Done { opcode, refusal, detail: r.u32() }
            }
            7 => Self::Reading {
                item: r.u8(),
                token: r.u8(),
                unit: r.u8(),
                value: f32::from_le_bytes(r.array()),
            },
            8 => Self::Statistics(Statistics {
                tec: r.u8(),
                rec: r.u8(),
                overruns: r.u16(),
                errors: r.u16(),
                data_frames: r.u32(),
                missed: r.u32(),
                dropped: r.u32(),
                holds: r.u16(),
            }),
            _ => return None,
        })
    }
}

pub(crate) fn put_check(w: &mut Writer<'_>, RegionCheck { region, matches, crc }: RegionCheck) {
    w.u8(3).u8(region).u8(matches.into()).u32(crc);
}

pub(crate) fn put_digest(w: &mut Writer<'_>, region: u8, sha256: &[u8; 32]) {
    w.u8(4).u8(region).put(sha256);
}

/// The bytes follow.
pub(crate) fn put_memory<'w, 'b>(w: &'w mut Writer<'b>, address: u32) -> &'w mut Writer<'b> {
    w.u8(5).u32(address)
}

pub(crate) fn put_done(w: &mut Writer<'_>, opcode: u8, refusal: Option<Refusal>, detail: u32) {
    w.u8(6).u8(opcode).u8(refusal.map_or(0, |r| r as u8)).u32(detail);
}

pub(crate) fn put_reading(w: &mut Writer<'_>, item: u8, token: u8, unit: u8, value: f32) {
    w.u8(7).u8(item).u8(token).u8(unit).u32(value.to_bits());
}

pub(crate) fn put_statistics(w: &mut Writer<'_>, statistics: &Statistics) {
    let Statistics { tec, rec, overruns, errors, data_frames, missed, dropped, holds } = *statistics;
    w.u8(8).u8(tec).u8(rec).u16(overruns).u16(errors);
    w.u32(data_frames).u32(missed).u32(dropped).u16(holds);
}

pub(crate) fn put_info(w: &mut Writer<'_>, info: &Info) {
    let Info {
        version,
        device_id,
        hardware_revision,
        bootloader_version,
        capabilities,
        reset_cause,
        protection,
        supply_mv,
        image,
        image_id,
        profile_crc,
        uid_check,
        floor,
    } = *info;
    w.u8(1)
        .u8(version)
        .u16(device_id)
        .u16(hardware_revision)
        .u16(bootloader_version)
        .u16(capabilities.bits());
    w.u8(reset_cause as u8 | (protection as u8) << 4 | (image as u8) << 6).u16(supply_mv);
    w.u32(image_id).u32(profile_crc).u32(uid_check);
    if floor != 0 {
        w.u32(floor);
    }
}

fn read_info(r: &mut Reader<'_>) -> Option<Info> {
    let (version, device_id, hardware_revision, bootloader_version) = (r.u8(), r.u16(), r.u16(), r.u16());
    let capabilities = Capabilities::from_bits_retain(r.u16());
    let packed = r.u8();
    let supply_mv = r.u16();
    let reset_cause = match packed & 0xF {
        1 => ResetCause::PowerOn,
        2 => ResetCause::Pin,
        3 => ResetCause::BrownOut,
        4 => ResetCause::Software,
        5 => ResetCause::Watchdog,
        _ => return None,
    };
    let protection = Protection::from_byte(packed >> 4 & 3)?;
    let image = match packed >> 6 {
        0 => ImageState::None,
        1 => ImageState::Incomplete,
        2 => ImageState::Valid,
        3 => ImageState::Staged,
        _ => return None,
    };
    Some(Info {
        version,
        device_id,
        hardware_revision,
        bootloader_version,
        capabilities,
        reset_cause,
        protection,
        supply_mv,
        image,
        image_id: r.u32(),
        profile_crc: r.u32(),
        uid_check: r.u32(),
        floor: if r.rest().is_empty() { 0 } else { r.u32() },
    })
}

/// Erase times travel in units of 0.1 ms (up to 6.5 s), sizes in KiB, program times in whole microseconds; times
/// are rounded up, and what is longer than a field can say stands there as the most it can.
pub(crate) fn put_profile(w: &mut Writer<'_>, silicon: u16, flash: &FlashFacts, buffers: u16, segments: u16) {
    let FlashFacts { base, runs, unit, program_typical, program_longest, app_base, record_base } = flash;
    w.u8(2).u16(silicon).u16(buffers).u16(segments).u32(*base).u32(*app_base).u32(*record_base).u8(*unit);
    put_span(w, *program_typical, 1);
    put_span(w, *program_longest, 1);
    for EraseRun { count, size, typical, longest } in runs.iter().filter(|run| run.count > 0) {
        w.u16(*count).u16((size / 1024) as u16);
        put_span(w, *typical, 100);
        put_span(w, *longest, 100);
    }
}

/// A time in units of so many microseconds.
#[inline(never)]
fn put_span(w: &mut Writer<'_>, span: Span, unit: Count) {
    w.u16(span.0.div_ceil(unit).min(u16::MAX.into()) as u16);
}

fn read_profile(r: &mut Reader<'_>) -> Option<Profile> {
    let (silicon_revision, buffers, max_segments) = (r.u16(), r.u16(), r.u16());
    let (base, app_base, record_base) = (r.u32(), r.u32(), r.u32());
    let (unit, program_typical, program_longest) = (r.u8(), r.u16(), r.u16());
    let mut runs = [EraseRun::default(); MAX_RUNS];
    for run in &mut runs {
        if r.rest().len() < 8 {
            break;
        }
        *run = EraseRun {
            count: r.u16(),
            size: u32::from(r.u16()) * 1024,
            typical: Span(Count::from(r.u16()) * 100),
            longest: Span(Count::from(r.u16()) * 100),
        };
        if run.count == 0 || run.size == 0 {
            return None;
        }
    }
    let size = runs.iter().try_fold(0u32, |sum, run| {
        u32::from(run.count).checked_mul(run.size).and_then(|len| sum.checked_add(len))
    });
    if unit == 0 || size.is_none_or(|size| base.checked_add(size).is_none()) {
        return None;
    }
    let flash = FlashFacts {
        base,
        runs,
        unit,
        program_typical: Span(program_typical.into()),
        program_longest: Span(program_longest.into()),
        app_base,
        record_base,
    };
    Some(Profile { silicon_revision, flash, buffers, max_segments })
}

/// CRC-32 over UID and nonce, as in [`Info::uid_check`].
#[must_use]
pub fn uid_check(uid: &Uid, nonce: u16) -> u32 {
    CRC32.update(CRC32.checksum(&uid.0), &nonce.to_le_bytes())
}

/// CRC-32 over a profile's encoding, as in [`Info::profile_crc`].
#[must_use]
pub fn profile_crc(profile: &Profile) -> u32 {
    let mut out = [0; MAX_REPLY];
    let len = Reply::Profile(*profile).encode(&mut out);
    CRC32.checksum(&out[..len])
}
