//! The commands of `panelflash rom`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use panel_codes::Code;
use panel_image::Image;
use serde_json::{Value, json};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{
    Area, EraseFlash, EraseTarget, Event, Field, Finish, Go, Identify, Identity, Inspect, Plan, PlanOptions,
    Program, Protect, Protection, Recognize, Region, Resume, Verify, WriteOptions,
};

use super::read_out::Part;
use super::{Command, ImageArgs, Port, RomArgs, plan_failure};
use crate::failure::Failure;
use crate::out::{line, note};

const FLASH: u32 = 0x0800_0000;
/// Where RAM begins on all STM32s.
const RAM: u32 = 0x2000_0000;

pub(crate) fn rom(args: RomArgs) -> Result<u8, Failure> {
    // Files are read before the port is opened: a bad file touches nothing.
    let image = match &args.command {
        Command::Write { file, image, .. } | Command::Verify { file, image } => Some(load(file, image)?),
        _ => None,
    };
    let port = Port::open(&args.port)?;
    let mut bench = Bench { port, connected: None, progress: Progress::default() };
    let value = match (args.command, image) {
        (Command::Info, _) => bench.info()?,
        (Command::Read { address, length, output, resume }, _) => {
            bench.read(address, length, &output, resume)?
        }
        (Command::Write { mass_erase, resume, no_verify, go, unprotect, voltage, yes, .. }, Some(image)) => {
            let options = WriteChoice { mass_erase, resume, verify: !no_verify, go, unprotect, voltage, yes };
            bench.write(&image, &options)?
        }
        (Command::Verify { .. }, Some(image)) => bench.verify(&image)?,
        (Command::Write { .. } | Command::Verify { .. }, None) => Value::Null,
        (Command::Erase { address, length, yes }, _) => bench.erase(address.zip(length), yes)?,
        (Command::Go { address }, _) => {
            let started = bench.run(Go { address })?;
            json!({ "started": format!("{address:#010x}"), "by_reset": started.by_reset })
        }
        (Command::Option { write, close_the_chip_for_ever }, _) => {
            bench.option(write.as_deref(), close_the_chip_for_ever)?
        }
        (Command::Protect { write }, _) => {
            let protection = if write.is_empty() { Protection::Readout } else { Protection::Write(write) };
            let done = bench.run(Protect { protection })?;
            json!({ "protected": true, "chip": chip_name(&done.identity) })
        }
        (Command::Unprotect { write, yes }, _) => bench.unprotect(write, yes)?,
    };
    if args.json {
        line(&value.to_string());
    } else {
        print(&value);
    }
    Ok(0)
}

/// Text for people: one line per field.
fn print(value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(&format!("{:<16} {text}", key.replace('_', " ")));
    }
}

struct WriteChoice {
    mass_erase: bool,
    resume: bool,
    verify: bool,
    go: bool,
    unprotect: bool,
    voltage: Option<f64>,
    yes: bool,
}

/// A port with a chip on it, and a progress line.
struct Bench {
    port: Port,
    /// The chip, once an operation has found it: the next ones go on there.
    connected: Option<Identity>,
    progress: Progress,
}

impl Bench {
    fn run<'a, O: stm32::Operation<'a>>(&mut self, operation: O) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let Self { port, connected, progress } = self;
        let result = port.run(operation, connected.as_ref(), &mut |event| progress.show(event));
        progress.end();
        result
    }

    fn info(&mut self) -> Result<Value, Failure> {
        let info = self.run(Inspect)?;
        let id = &info.identity;
        Ok(json!({
            "chip": chip_name(id),
            "product_id": format!("{:#05x}", id.product_id),
            "protocol_version": format!("{}.{}", id.protocol >> 4, id.protocol & 0xF),
            "bootloader_id": id.bootloader_id.map(|b| format!("{b:#04x}")),
            "uid": field(&info.uid, |uid| Value::String(hex::encode_upper(uid))),
            "flash_kib": field(&info.flash_kib, |kib| json!(kib)),
            "option_bytes": field(&info.option_bytes, |bytes| Value::String(hex::encode_upper(bytes))),
            "readout_protection": info.readout.map(|level| format!("{level:?}")),
            "protected": id.protected,
            "blank": info.is_blank(),
        }))
    }

    fn read(&mut self, address: u32, len: u32, output: &Path, resume: bool) -> Result<Value, Failure> {
        let Self { port, connected, progress } = self;
        let mut part = Part::open(output, address, len, resume)?;
        let result = part.read(port, connected, progress);
        progress.end();
        result?;
        let resumed_at = part.resumed_at();
        let data = part.finish(output)?;
        Ok(json!({
            "read": len, "address": format!("{address:#010x}"), "output": output.display().to_string(),
            "resumed_at": resumed_at, "crc32": format!("{:08x}", panel_image::crc32(&data)),
        }))
    }

    /// The chip and the plan for it. Of the chip only that is read on which the plan depends: every answer costs
    /// time, and the unique ID, which nobody asked for, 26 ms on an F4.
    fn plan(
        &mut self,
        image: &stm32::Image<'_>,
        choice: Option<&WriteChoice>,
    ) -> Result<(Identity, Plan), Failure> {
        let in_flash = image.regions().iter().all(|region| (FLASH..RAM).contains(&region.address));
        let mut id = match in_flash && !self.port.is_can() {
            true => self.run(Recognize::default())?.identity,
            false => self.run(Identify)?,
        };
        self.connected = Some(id.clone());
        let device = id.device.ok_or_else(|| unknown_chip(&id))?;
        let voltage = choice.and_then(|c| c.voltage).map(supply).transpose()?;
        let mut options = PlanOptions {
            bootloader_id: id.bootloader_id,
            erase: if choice.is_some_and(|c| c.mass_erase) {
                stm32::EraseChoice::Everything
            } else {
                stm32::EraseChoice::Touched
            },
            voltage,
            ..PlanOptions::default()
        };
        if id.protected != Some(true) && Plan::depends_on_flash_size(device, image, &options) {
            let size = self.run(Recognize { flash_size: true })?;
            options.flash_kib = size.flash_kib;
            id.protected = size.identity.protected;
        }
        let plan = Plan::new(device, image, &options).map_err(|e| plan_failure(&e))?;
        Ok((id, plan))
    }

    fn write(&mut self, image: &Image, choice: &WriteChoice) -> Result<Value, Failure> {
        let regions = regions(image)?;
        let (identity, plan) = self.plan(&regions, Some(choice))?;
        for area in plan.lost() {
            note(&format!(
                "{:#010x} to {:#010x} shares an erase unit with the image and is lost",
                area.start, area.end
            ));
        }
        let mut locked = identity.protected == Some(true);
        if locked {
            may_unprotect(choice)?;
        }
        let start = image.regions().first().map_or(FLASH, panel_image::Region::address);
        let mut program = Program::new(&plan, &regions);
        program.resume = if choice.resume { Resume::Compare } else { Resume::FromStart };
        program.verify = choice.verify;
        program.unprotect_readout = locked;
        program.finish = if choice.go { Finish::Go(start) } else { Finish::Stay };
        let mut result = self.run(program);
        if let Err(failure) = &result
            && failure.code == Code::RomProtected
            && !locked
        {
            // Nothing was read of the chip before, and it refused the first command that changes it.
            may_unprotect(choice)?;
            locked = true;
            program.unprotect_readout = locked;
            result = self.run(program);
        }
        let done = result?;
        Ok(json!({
            "chip": chip_name(&done.identity), "bytes": image.len(), "units_erased": done.units_erased,
            "blocks_written": done.blocks_written, "blank_blocks_skipped": plan.blank_blocks().len(),
            "verified": choice.verify, "unprotected": done.unprotected,
            "needs_power_cycle": done.needs_power_cycle, "started": choice.go,
        }))
    }

    fn verify(&mut self, image: &Image) -> Result<Value, Failure> {
        let regions = regions(image)?;
        let (_, plan) = self.plan(&regions, None)?;
        let done = self.run(Verify { plan: &plan, image: &regions })?;
        Ok(
            json!({ "chip": chip_name(&done.identity), "bytes": image.len(), "blocks_read": done.blocks, "equal": true }),
        )
    }

    fn erase(&mut self, area: Option<(u32, u32)>, yes: bool) -> Result<Value, Failure> {
        let target = match area {
            Some((start, len)) => EraseTarget::Range(area_of(start, len)?),
            None => {
                consent(yes, "this erases the whole flash")?;
                EraseTarget::Everything
            }
        };
        let done = self.run(EraseFlash { target, flash_kib: None, banks: None })?;
        let units =
            if done.units.is_empty() { Value::String("all".to_owned()) } else { json!(done.units.len()) };
        Ok(json!({ "chip": chip_name(&done.identity), "units_erased": units }))
    }

    fn option(&mut self, write: Option<&str>, irreversible: bool) -> Result<Value, Failure> {
        let Some(text) = write else {
            let info = self.run(Inspect)?;
            return Ok(json!({
                "option_bytes": field(&info.option_bytes, |bytes| Value::String(hex::encode_upper(bytes))),
                "readout_protection": info.readout.map(|level| format!("{level:?}")),
            }));
        };
        let data =
            hex::decode(text).map_err(|e| Failure::new(Code::Usage, format!("--write {text}: {e}")))?;
        let done = self.run(WriteOptions { block: 0, data: &data, irreversible })?;
        Ok(json!({ "chip": chip_name(&done.identity), "after": done.after.map(hex::encode_upper) }))
    }

    fn unprotect(&mut self, write: bool, yes: bool) -> Result<Value, Failure> {
        let protection = if write {
            Protection::LiftWrite
        } else {
            consent(yes, "lifting readout protection erases the whole chip")?;
            Protection::LiftReadoutErasingAll
        };
        let done = self.run(Protect { protection })?;
        Ok(json!({ "chip": chip_name(&done.identity), "unprotected": true, "erased": !write }))
    }
}

/// Consent to what lifting readout protection destroys.
fn may_unprotect(choice: &WriteChoice) -> Result<(), Failure> {
    if choice.unprotect {
        return consent(choice.yes, "lifting readout protection erases the whole chip");
    }
    let text = "the chip is readout protected; --unprotect lifts it and ERASES THE WHOLE CHIP";
    Err(Failure::with_exit(Code::RomProtected, text, 1))
}

fn unknown_chip(id: &Identity) -> Failure {
    let text =
        format!("unknown product ID {:#05x}; --force-device NAME treats it as a known chip", id.product_id);
    Failure::with_exit(Code::RomUnknownChip, text, 1)
}

fn area_of(start: u32, len: u32) -> Result<Area, Failure> {
    let end = len.checked_sub(1).and_then(|last| start.checked_add(last));
    let end =
        end.ok_or_else(|| Failure::new(Code::Usage, format!("{len} bytes at {start:#010x} are no area")))?;
    Ok(Area { start, end })
}

/// `--yes`, or a yes typed at a terminal.
pub(crate) fn consent(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused =
        || Failure::with_exit(Code::RomNoConsent, format!("{what}; say --yes if that is what you want"), 2);
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    note(&format!("{what}. Type yes to go on:"));
    let mut answer = String::new();
    let typed = std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes";
    if typed { Ok(()) } else { Err(refused()) }
}

fn load(file: &Path, args: &ImageArgs) -> Result<Image, Failure> {
    let name = file.display().to_string();
    let bytes =
        std::fs::read(file).map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    let binary = panel_image::Format::detect(&bytes, &name) == panel_image::Format::Bin;
    let address = args.address.or_else(|| binary.then_some(FLASH));
    panel_image::parse(&bytes, &name, address).map_err(|e| crate::setup::image_failure(&e))
}

fn regions(image: &Image) -> Result<stm32::Image<'_>, Failure> {
    let regions = image.regions().iter().map(|r| Region { address: r.address(), data: r.data() });
    stm32::Image::new(regions).map_err(|e| plan_failure(&e))
}

/// The voltage range of a supply, as the ROM wants it (AN2606, "Dual-bank and voltage range").
pub(crate) fn supply(volts: f64) -> Result<stm32::device::SupplyVoltage, Failure> {
    let millivolts = (volts * 1000.0).round();
    let inside = millivolts.is_finite() && (1800.0..=3600.0).contains(&millivolts);
    let found = inside.then(|| stm32::device::SupplyVoltage::from_millivolts(millivolts as u16)).flatten();
    found.ok_or_else(|| Failure::new(Code::Usage, format!("--voltage {volts}: 1.8 to 3.6 V")))
}

pub(crate) fn chip_name(identity: &Identity) -> String {
    identity.device.map_or_else(|| format!("product ID {:#05x}", identity.product_id), |d| d.name.to_owned())
}

fn field<T>(field: &Field<T>, show: impl Fn(&T) -> Value) -> Value {
    match field {
        Field::Value(value) => show(value),
        Field::Refused => Value::String("refused".to_owned()),
        Field::Unknown => Value::Null,
        Field::Unreadable => Value::String("not readable in this ROM version".to_owned()),
    }
}

/// Progress on stderr: a line that is rewritten on a terminal, a line per quarter elsewhere.
pub(crate) struct Progress {
    told: BTreeMap<String, u32>,
    open: bool,
    terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { told: BTreeMap::new(), open: false, terminal: std::io::stderr().is_terminal() }
    }
}

impl Progress {
    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Progress { step, done, total } if *total > 0 => {
                let percent = u64::from(*done) * 100 / u64::from(*total);
                if self.terminal {
                    crate::out::screen(&format!("\r{step}: {percent:>3} %  "));
                    self.open = true;
                } else {
                    let told = self.told.entry(step.to_string()).or_insert(0);
                    let quarter = (percent / 25) as u32;
                    if quarter > *told {
                        *told = quarter;
                        note(&format!("{step}: {percent} %"));
                    }
                }
            }
            Event::Note(what) => note(&format!("note: {what:?}")),
            Event::Repeated { command, wait, .. } => note(&format!("repeated {command}: no {wait}")),
            _ => {}
        }
    }

    pub(crate) fn end(&mut self) {
        if core::mem::take(&mut self.open) {
            note("");
        }
        self.told.clear();
    }
}
