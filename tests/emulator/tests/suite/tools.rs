//! What every test here needs: compiled test programs, the firmware's files, a panel of emulated boards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use panel_backplane::units::BitRate;
use panel_backplane::{Binding, Bus, BusKind, Link, Panel, Way};
use panel_emulator::station::Issuer;
use panel_emulator::{Board, BoardConfig, Chip, Fitted, Program};

use panel_engine::rom::{Agent, Ways};
use panel_engine::{Finishing, Limits, Plan, Recipe, Run, SlotReport, Verdict};
use panel_protocol::time::{Micros, Span};
use panel_simulator::{BusSpeed, Device, Scenario, World, WorldConfig};

/// The firmware's file of this name, such as `f405-bootloader`.
pub(crate) fn firmware(name: &str) -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/firmware/{name}.elf"));
    let path = std::env::var_os("PANELFLASH_FIRMWARE_OUT")
        .map_or(path, |folder| PathBuf::from(folder).join(format!("{name}.elf")));
    Program::read(&path).expect("panel-backplane/firmware/build has built the firmware")
}

/// Compiles a program of `programs/` for this processor with this linker script.
pub(crate) fn compile(name: &str, cpu: &str, script: &str, sources: &[&str], defines: &[&str]) -> Program {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    // Tests side by side may want the same program.
    static COMPILED: AtomicU32 = AtomicU32::new(0);
    let number = COMPILED.fetch_add(1, Ordering::Relaxed);
    let out =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}.elf", std::process::id()));
    let status = Command::new("arm-none-eabi-gcc")
        .current_dir(&folder)
        .arg(format!("-mcpu={cpu}"))
        .args(["-mthumb", "-Os", "-g0", "-ffreestanding", "-nostdlib", "-Wall", "-Werror"])
        .arg(format!("-T{script}"))
        .args(defines)
        .arg("-o")
        .arg(&out)
        .args(sources)
        .status()
        .expect("arm-none-eabi-gcc is installed (Debian: gcc-arm-none-eabi)");
    assert!(status.success(), "{name} does not compile");
    let program = Program::read(&out).expect("an ELF file");
    std::fs::remove_file(&out).expect("it was just written");
    program
}

/// A chip on its reference board, and the bus of a panel of them.
#[derive(Debug)]
pub(crate) struct Kit {
    chip: Chip,
    /// Its firmware's name, and the macro that the test programs know it by.
    pub(crate) name: &'static str,
    macro_name: &'static str,
    engine: &'static str,
    cpu: &'static str,
    /// Links the test application to where its image begins.
    script: &'static str,
    crystal: Option<u32>,
    speed: BusSpeed,
}

/// STM32F405 without a crystal, on classical CAN.
pub(crate) static F405: Kit = F405_PLAIN;
const F405_PLAIN: Kit = Kit {
    chip: Chip::F405,
    name: "f405",
    macro_name: "F405",
    engine: "STM32F405",
    cpu: "cortex-m4",
    script: "app.ld",
    crystal: None,
    speed: BusSpeed::CAN_1M,
};

/// STM32G431 with a crystal of 8 MHz, on CAN FD.
pub(crate) static G431: Kit = G431_PLAIN;
const G431_PLAIN: Kit = Kit {
    chip: Chip::G431,
    name: "g431",
    macro_name: "G431",
    engine: "STM32G431",
    cpu: "cortex-m4",
    script: "app.ld",
    crystal: Some(8_000_000),
    speed: BusSpeed::FD_1M_5M,
};

/// STM32G474 on the same bus.
pub(crate) static G474: Kit = G474_PLAIN;
const G474_PLAIN: Kit =
    Kit { chip: Chip::G474, name: "g474", macro_name: "G474", engine: "STM32G474", ..G431_PLAIN };

/// STM32G0B1, whose bootloader has 40 KiB, on the same bus.
pub(crate) static G0B1: Kit = Kit {
    chip: Chip::G0B1,
    name: "g0b1",
    macro_name: "G0B1",
    engine: "STM32G0B1",
    cpu: "cortex-m0plus",
    script: "app-40k.ld",
    ..G431_PLAIN
};

/// STM32F103xE with a crystal of 8 MHz, on classical CAN.
pub(crate) static F103: Kit = Kit {
    chip: Chip::F103,
    name: "f103",
    macro_name: "F103xE",
    engine: "STM32F103xE",
    cpu: "cortex-m3",
    crystal: Some(8_000_000),
    ..F405_PLAIN
};

/// The same boards with a second slot.
pub(crate) static F405_SLOT: Kit = Kit { name: "f405-slot", ..F405_PLAIN };
pub(crate) static G431_SLOT: Kit = Kit { name: "g431-slot", ..G431_PLAIN };

/// The same boards with a key: their bootloader takes only sealed images, and keeps more flash.
pub(crate) static F405_SEALED: Kit = Kit { name: "f405-sealed", script: "app-48k.ld", ..F405_PLAIN };
pub(crate) static G474_SEALED: Kit = Kit { name: "g474-sealed", script: "app-40k.ld", ..G474_PLAIN };

/// The example of a product with STM32F405: a crystal of 8 MHz, the PLL at 168 MHz, the independent watchdog.
pub(crate) static F405_CRYSTAL: Kit = Kit { name: "f405-crystal", crystal: Some(8_000_000), ..F405_PLAIN };

impl Kit {
    /// The chip as jobs are planned for it.
    pub(crate) fn planned(&self) -> &'static panel_engine::chip::Chip {
        panel_engine::chip::Chip::by_name(self.engine).expect("known")
    }

    /// Its resident bootloader.
    pub(crate) fn bootloader(&self) -> Program {
        firmware(&format!("{}-bootloader", self.name))
    }

    /// The same before it was packed, at its place in RAM, with its symbols.
    pub(crate) fn unpacked(&self) -> Program {
        firmware(&format!("{}-bootloader-raw", self.name))
    }

    /// What the board of this number is made of.
    pub(crate) fn config(&self, number: u8) -> BoardConfig {
        BoardConfig { crystal: self.crystal, ..BoardConfig::new(self.chip, number) }
    }

    /// The agent that is kept for it: address and bytes, as `panel-backplane/agents/manifest.toml` names them.
    pub(crate) fn agent(&self) -> Agent {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../panel-backplane/agents");
        let manifest = std::fs::read_to_string(folder.join("manifest.toml")).expect("it is there");
        let ours = |part: &&str| part.contains(&format!("\"{}\"", self.engine));
        let part = manifest.split("[[agent]]").find(ours).expect("the chip has an agent");
        let field = |name: &str| part.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_prefix("= "));
        let file = field("file").expect("named").trim_matches('"');
        let address = field("address").and_then(|a| u32::from_str_radix(a.strip_prefix("0x")?, 16).ok());
        let bytes = std::fs::read(folder.join(file)).expect("it is there");
        Agent { name: file.to_owned(), bytes, address: address.expect("a number") }
    }

    /// An empty board.
    pub(crate) fn board(&self, number: u8) -> Board {
        Board::new(self.config(number)).expect("unicorn works")
    }

    /// The test application of this version, with so many bytes of ballast.
    pub(crate) fn application(&self, version: &str, ballast: usize) -> Program {
        self.linked(self.script, version, ballast)
    }

    /// The same, linked by this script.
    pub(crate) fn linked(&self, script: &str, version: &str, ballast: usize) -> Program {
        let name = format!("{script}-{}-{version}-{ballast}", self.name);
        let defines = [
            format!("-D{}", self.macro_name),
            format!("-DVERSION=\"{version}\""),
            format!("-DBALLAST={ballast}"),
        ];
        let defines = defines.each_ref().map(String::as_str);
        compile(&name, self.cpu, script, &["start.c", "app.c"], &defines)
    }
}

/// A simulated panel with emulated boards in its first slots.
pub(crate) struct Station {
    pub(crate) world: World,
    pub(crate) boards: Vec<Fitted>,
    pub(crate) panel: Panel,
    pub(crate) ways: Ways,
    chip: &'static panel_engine::chip::Chip,
    pub(crate) start_up: Span,
    /// Hardware revisions that the job is for; empty: all.
    pub(crate) revisions: Vec<u16>,
    session: u8,
}

impl Station {
    /// `count` boards that carry their resident bootloader, on one bus.
    pub(crate) fn new(kit: &Kit, count: u8) -> Self {
        let resident = kit.bootloader();
        let boards = (1..=count).map(|n| {
            let mut board = kit.board(n);
            board.program(&resident);
            board
        });
        Self::with(kit, boards.collect())
    }

    /// These boards, in slots 1, 2, 3...
    pub(crate) fn with(kit: &Kit, boards: Vec<Board>) -> Self {
        Self::troubled(kit, boards, 0.0, |_, board| Box::new(board))
    }

    /// These boards on a bus that destroys a share of its frames, each as `fit` puts it into its slot.
    pub(crate) fn troubled(
        kit: &Kit,
        boards: Vec<Board>,
        corruption: f64,
        fit: impl Fn(u16, Fitted) -> Box<dyn Device>,
    ) -> Self {
        let count = boards.len() as u16;
        let data = kit.speed.data;
        let bus = Bus {
            name: "can".to_owned(),
            kind: data.map_or(BusKind::Classical, |rate| BusKind::Fd { data_bit_rate: BitRate(rate) }),
            bit_rate: BitRate(kit.speed.nominal),
            link: Link::Sim,
            ways: vec![Way::Multidrop],
        };
        let mut panel = Panel::grid(1, count, vec![bus]).expect("a panel");
        panel.binding = Binding::PowerGroups;
        let simulated = panel_simulator::Chip::by_name(kit.macro_name).expect("known");
        let scenario = Scenario { corruption, ..Scenario::default() };
        let config = WorldConfig { scenario, ..WorldConfig::panel(count, simulated, kit.speed) };
        let mut world = World::new(config, 1).expect("a world");
        let boards: Vec<Fitted> = boards.into_iter().map(Fitted::new).collect();
        for (slot, board) in (1..).zip(&boards) {
            assert!(world.install(slot, fit(slot, board.clone())));
        }
        let chip = kit.planned();
        let (ways, start_up) = (Ways::default(), chip.start_up(false));
        Self { world, boards, panel, ways, chip, start_up, revisions: Vec::new(), session: 1 }
    }

    /// Programs every board with `image` by the real engine; how each slot ended.
    pub(crate) fn program(&mut self, image: &Program, start: bool) -> Vec<SlotReport> {
        self.finish(image, start, Finishing::default())
    }

    /// Programs every board with `image` and does the factory's part.
    pub(crate) fn finish(&mut self, image: &Program, start: bool, finishing: Finishing) -> Vec<SlotReport> {
        let mut run = self.begin(image, start, finishing);
        panel_emulator::station::drive(&mut run, &mut self.world, Span::from_millis(120_000));
        run.reports()
    }

    /// The same for a release whose units get something of their own, which `issue` gives.
    pub(crate) fn issue(
        &mut self,
        image: &Program,
        finishing: Finishing,
        issue: Issuer<'_>,
    ) -> Vec<SlotReport> {
        let mut run = self.begin(image, false, Finishing { reserve: true, ..finishing });
        panel_emulator::station::drive_with(&mut run, &mut self.world, Span::from_millis(120_000), issue);
        run.reports()
    }

    /// A run that is yet to be driven.
    pub(crate) fn begin(&mut self, image: &Program, start: bool, finishing: Finishing) -> Run {
        let (address, bytes) = image.flat();
        let plan = Arc::new(self.plan(address, &bytes, start, finishing));
        self.session += 1;
        Run::new(&plan, self.world.now(), self.session)
    }

    /// Programs the first board; what its processor did while the first sector of the image was erased and data came:
    /// instructions, cycles awake, frames received.
    pub(crate) fn reception(&mut self, image: &Program) -> (u64, u64, u64) {
        let (address, bytes) = image.flat();
        let plan = Arc::new(self.plan(address, &bytes, false, Finishing::default()));
        let mut run = Run::new(&plan, self.world.now(), self.session);
        let look = |station: &Self| {
            let board = station.boards[0].board();
            let erasing = board.flash().running().is_some_and(|o| o.is_erase() && o.address == address);
            (erasing, board.instructions(), board.cycles_awake(), board.can_counters().received)
        };
        let mut begun = None;
        while !run.is_finished() {
            panel_emulator::station::drive(&mut run, &mut self.world, Span::from_millis(1));
            let (erasing, instructions, cycles, frames) = look(self);
            match begun {
                None if erasing => begun = Some((instructions, cycles, frames, frames)),
                // The host has paused, or the sector is erased.
                Some((i, c, f, last)) if !erasing || frames == last => {
                    return (instructions - i, cycles - c, frames - f);
                }
                Some((i, c, f, _)) => begun = Some((i, c, f, frames)),
                None => {}
            }
        }
        (0, 0, 0)
    }

    fn plan(&self, address: u32, bytes: &[u8], start: bool, finishing: Finishing) -> Plan {
        let image = panel_image::parse(bytes, "image.bin", Some(address)).expect("an image");
        let recipe = Recipe {
            job: "emulated".to_owned(),
            release: "image.bin".to_owned(),
            image,
            chip: self.chip,
            revisions: self.revisions.clone(),
            min_supply_mv: None,
            retries: 0,
            digest: true,
            start_application: start,
            finishing,
            limits: Limits { start_up: self.start_up, ..Limits::default() },
        };
        Plan::with_ways(recipe, self.panel.clone(), self.ways.clone()).expect("a plan")
    }

    /// Now, as the world counts it.
    pub(crate) fn now(&self) -> Micros {
        self.world.now()
    }
}

/// Fails with every verdict that is not a pass, and with what the boards have to say.
pub(crate) fn all_pass(station: &Station, reports: &[SlotReport]) {
    let bad: Vec<_> = reports.iter().filter(|r| r.verdict != Some(Verdict::pass())).collect();
    let complaints: Vec<_> = station.boards.iter().map(|b| b.board().complaints()).collect();
    let counters: Vec<_> = station.boards.iter().map(|b| b.board().can_counters()).collect();
    let faults: Vec<_> = station.boards.iter().map(|b| b.board().faults()).collect();
    assert!(bad.is_empty(), "{bad:?}\n{complaints:#?}\n{counters:?}\n{faults:x?}");
    assert_eq!(reports.len(), station.boards.len());
}
