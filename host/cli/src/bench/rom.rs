//! Rows of the way `rom-uart`: one board through its ROM bootloader over its own port, in virtual time.
//!
//! The session of `stm32-rom-bootloader` against a simulated chip that shares no code with it, on a line with
//! exact byte times behind an adapter that holds every answer back. From the first sync byte to the last block
//! read back. Ports work in parallel and share nothing, so one board stands for all.

use std::num::NonZeroU32;
use std::time::Duration;

use panel_bound::{EraseUnit, FlashTimes, PowerOn, Rom, RomLink};
use panel_codes::Code;
use rom_simulator::{FlashModel, Model, Settings, catalog};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::device::SupplyVoltage;
use stm32_rom_bootloader::{Device, EraseChoice, Plan, PlanOptions, Program};

use super::Row;
use super::firmware::{self, ImageSize};
use super::matrix::{BusName, Family};
use crate::failure::Failure;
use crate::rom::attempt::Link;
use crate::rom::virtual_port::VirtualPort;
use crate::setup;

/// What one row measures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RomPoint {
    pub(super) family: Family,
    pub(super) image: ImageSize,
    pub(super) bus: BusName,
    pub(super) baud: u32,
    pub(super) latency_ms: f64,
    /// The supply is stated as 3.3 V, so that an F4 programs words.
    pub(super) words: bool,
}

/// The simulated chip of a family.
fn model(family: Family) -> Option<&'static Model> {
    catalog::find(match family {
        Family::F4 => "F405",
        Family::G4 => "G474",
        Family::F1 => "F103HD",
        Family::G0 => "G0B1",
    })
}

pub(super) fn measure(point: &RomPoint) -> Result<Row, Failure> {
    let internal = |e: &dyn core::fmt::Display| Failure::new(Code::Internal, format!("{point:?}: {e}"));
    let model = model(point.family).ok_or_else(|| internal(&"no simulated chip"))?;
    let (image, _) = firmware::image(point.family, point.image).map_err(|e| internal(&e))?;
    let regions: Vec<(u32, &[u8])> = image.regions().iter().map(|r| (r.address(), r.data())).collect();
    let whole = regions.iter().map(|(address, data)| stm32::Region { address: *address, data });
    let whole = stm32::Image::new(whole).map_err(|e| internal(&e))?;
    let device = Device::find(model.product_id, None).ok_or_else(|| internal(&"chip in no table"))?;
    let voltage = SupplyVoltage::from_millivolts(3300).filter(|_| point.words);
    let options = PlanOptions { erase: EraseChoice::Touched, voltage, ..PlanOptions::default() };
    let plan = Plan::new(device, &whole, &options).map_err(|e| internal(&e))?;

    let latency = Duration::from_secs_f64(point.latency_ms / 1000.0);
    let mut port = VirtualPort::new(model, point.baud, latency, &Settings::default());
    let mut repeated = 0;
    let cpu = setup::thread_cpu_seconds();
    let done = port.run(Program::new(&plan, &whole), None, &mut |event| {
        repeated += u64::from(matches!(event, stm32::Event::Repeated { .. }));
    });
    let host_cpu_seconds = setup::thread_cpu_seconds() - cpu;
    let flash = flash(&model.flash, point.words);
    let bound = Rom {
        link: RomLink::Uart { baud: NonZeroU32::new(point.baud).unwrap_or(NonZeroU32::MIN) },
        boards: 1,
        regions: &regions,
        flash: &flash,
        mass_erase_ns: None,
        power: PowerOn::default(),
        latency_ns: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
    }
    .bound();
    let (seconds, bound_seconds) = (port.now().as_secs_f64(), bound.total_ns as f64 / 1e9);
    let characters = (port.sent + port.received) as f64;
    Ok(Row {
        way: "rom-uart",
        family: point.family.name(),
        boards: 1,
        image_bytes: point.image.bytes(),
        bus: point.bus.name(),
        loss: 0.0,
        latency_ms: point.latency_ms,
        seconds,
        bound_seconds,
        ratio: seconds / bound_seconds,
        one_by_one_seconds: seconds,
        frames: port.frames.len() as u64,
        frames_repeated: repeated,
        bus_load: characters * 11.0 / f64::from(point.baud) / seconds,
        host_cpu_seconds,
        buses: 1,
        passed: usize::from(done.is_ok()),
        discover_seconds: 0.0,
        discover_bus_seconds: 0.0,
        discover_bus_errors: 0,
        program_bits: 8 * flash.program_unit.get(),
        added_seconds: None,
    })
}

/// The simulated chip's flash, at the width at which it is programmed.
fn flash(model: &FlashModel, words: bool) -> FlashTimes {
    // Only where the chip leaves the width open does the voltage change anything.
    let (unit, column) = match (model.chunk, words) {
        (1, true) => (4, 2),
        (chunk, _) => (chunk, 0),
    };
    let units = (0..model.units()).filter_map(|index| model.unit(index)).map(|(offset, size, us)| {
        EraseUnit { address: model.base + offset, size, typical_ns: u64::from(us[column]) * 1000 }
    });
    FlashTimes {
        units: units.collect(),
        program_unit: NonZeroU32::new(unit).unwrap_or(NonZeroU32::MIN),
        program_typical_ns: u64::from(model.chunk_ns),
    }
}
