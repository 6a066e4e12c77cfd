//! Every chip of the catalogue is identified, programmed, compared, protected and recovered over every link it has.

use crate::can::CanBench;
use crate::uart::Bench;
use rom_simulator::model::Entry as BootEntry;
use rom_simulator::{Protection as Level, catalog};
use stm32_rom_bootloader::{
    Entry, EraseChoice, Error, Field, Identify, Info, Inspect, PlanOptions, Protect, Protection, ReadMemory,
};

/// Three blocks, the middle one blank, none of them whole.
fn firmware() -> Vec<u8> {
    let data = (0..700u32).map(|at| if (256..512).contains(&at) { 0xFF } else { (at * 31 + 7) as u8 });
    data.collect()
}

fn touched() -> PlanOptions {
    PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() }
}

/// A rate at which the chip connects for certain.
fn bench(device: &str) -> Bench {
    let baud = if matches!(device, "F378" | "F746") { 57_600 } else { 115_200 };
    Bench::with_lines(device).at(baud)
}

fn check(name: &str, info: &Info, product_id: u16, uid: [u8; 12], kib: u16) {
    assert_eq!(info.identity.product_id, product_id, "{name}");
    assert_eq!(info.identity.protected, Some(false), "{name}");
    if info.uid == Field::Unreadable {
        assert_eq!(name, "G431-V13.3");
        return;
    }
    if info.uid != Field::Unknown {
        assert_eq!(info.uid, Field::Value(uid), "{name}");
    }
    assert_eq!(info.flash_kib, Field::Value(kib), "{name}");
}

#[test]
fn over_usart_every_chip_is_identified_programmed_and_read() {
    for model in catalog::MODELS {
        let mut bench = bench(model.name);
        let (uid, kib) = (bench.chip().uid(), (model.flash.size() / 1024) as u16);
        let info = bench.run(Inspect).unwrap_or_else(|e| panic!("{}: {e}", model.name));
        check(model.name, &info, model.product_id, uid, kib);
        let identity = bench.run(Identify).unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert_eq!(identity.protected, Some(false), "{}", model.name);
        // Old contents around the place make sure that it is erased.
        bench.chip().flash_mut().preload(0, &[0x5A; 4096]);
        let done = bench.program(0, &firmware(), &touched());
        done.unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert_eq!(bench.flash()[..700], firmware(), "{}", model.name);
        // Some ROMs clear the empty flag, and a reset would start the application.
        bench.settings.entry = Entry::AsIs;
        let read = ReadMemory { address: model.flash.base, len: 700 };
        assert_eq!(bench.run(read).unwrap().data, firmware(), "{}", model.name);
    }
}

#[test]
fn over_can_and_fdcan_every_chip_that_has_it_is_programmed() {
    let mut met = 0;
    for model in catalog::MODELS {
        let mut benches = Vec::new();
        if model.can.is_some() {
            benches.push(CanBench::classic(model.name));
        }
        if model.fdcan.is_some() {
            benches.push(CanBench::fd(model.name));
        }
        for mut bench in benches {
            let (uid, kib) = (bench.chip().uid(), (model.flash.size() / 1024) as u16);
            let info = bench.run(Inspect).unwrap_or_else(|e| panic!("{}: {e}", model.name));
            check(model.name, &info, model.product_id, uid, kib);
            bench.chip().flash_mut().preload(0, &[0x5A; 4096]);
            bench.program(0, &firmware(), &touched()).unwrap_or_else(|e| panic!("{}: {e}", model.name));
            assert_eq!(bench.flash()[..700], firmware(), "{}", model.name);
            met += 1;
        }
    }
    assert!(met >= 15, "only {met} chips have a CAN loader");
}

#[test]
fn every_chip_that_can_be_locked_is_locked_named_and_recovered() {
    for model in catalog::MODELS.iter().filter(|model| model.usart.commands.contains(&0x82)) {
        let mut bench = bench(model.name);
        // A chip that starts its ROM only while it is empty has no way back with something in it.
        if model.entry != BootEntry::Empty {
            bench.chip().flash_mut().preload(0, &firmware());
        }
        let locked = bench.run(Protect { protection: Protection::Readout });
        locked.unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert_eq!(bench.chip().protection(), Level::Level1, "{}", model.name);
        let info = bench.run(Inspect).unwrap();
        assert_eq!((info.identity.protected, info.identity.product_id), (Some(true), model.product_id));
        let refused = bench.program(0, &firmware(), &touched()).unwrap_err();
        assert!(matches!(refused, Error::Protected { .. }), "{}: {refused}", model.name);
        let lifted = bench.run(Protect { protection: Protection::LiftReadoutErasingAll });
        lifted.unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert_eq!(bench.chip().protection(), Level::Open, "{}", model.name);
        assert!(bench.flash().iter().all(|byte| *byte == model.flash.erased), "{}", model.name);
        bench.program(0, &firmware(), &touched()).unwrap_or_else(|e| panic!("{}: {e}", model.name));
        assert_eq!(bench.flash()[..700], firmware(), "{}", model.name);
    }
}
