//! Scenario files: every fault can be written, every mistake has a place.

use super::*;

fn error(text: &str) -> String {
    Scenario::parse(text).unwrap_err().to_string()
}

#[test]
fn every_fault_of_the_catalogue_can_be_written() {
    let text = r#"
        seed = 7
        [bus]
        corruption = 0.001
        [all]
        loss = 0.01
        service_us = 8
        makes_keys = true
        second_slot = true
        [[slot]]
        slot = 1
        fault = "loss"
        rate = 0.5
        [[slot]]
        slot = 2
        fault = "slow-service"
        [[slot]]
        slot = 3
        fault = "absent"
        [[slot]]
        slot = 4
        fault = "dead"
        at_ms = 900
        [[slot]]
        slot = 5
        fault = "brown-out"
        at_address = 0x08010000
        [[slot]]
        slot = 6
        fault = "program-fails"
        address = 0x08010004
        [[slot]]
        slot = 7
        fault = "reads-back-wrong"
        address = 0x08010008
        [[slot]]
        slot = 8
        fault = "erase-fails"
        address = 0x08020000
        [[slot]]
        slot = 9
        fault = "erase-slow"
        [[slot]]
        slot = 10
        fault = "wrong-chip"
        chip = "F429"
        [[slot]]
        slot = 11
        fault = "wrong-revision"
        revision = 9
        [[slot]]
        slot = 12
        fault = "protected"
        [[slot]]
        slot = 13
        fault = "same-uid"
        as = 1
        [[slot]]
        slot = 14
        fault = "babbling"
        at_ms = 100
        payload = "0102"
        [[slot]]
        slot = 15
        fault = "bus-off"
        [[slot]]
        slot = 16
        fault = "supply-low"
        [[slot]]
        slot = 17
        fault = "mute-after-erase"
        [[slot]]
        slot = 18
        fault = "dead"
        when = "locked"
        [[slot]]
        slot = 19
        fault = "brown-out"
        when = "option-write"
        [[slot]]
        slot = 20
        fault = "fades"
        address = 0x08060000
        [[slot]]
        slot = 21
        fault = "option-write-fails"
        [[slot]]
        slot = 22
        fault = "lock-ignored"
        [[slot]]
        slot = 23
        fault = "reads-when-locked"
        [[slot]]
        slot = 24
        fault = "key-fails"
        [[slot]]
        slot = 25
        fault = "key-hangs"
        [[slot]]
        slot = 26
        fault = "key-forged"
        [[slot]]
        slot = 27
        fault = "key-foreign"
        [[slot]]
        slot = 28
        fault = "key-repeated"
    "#;
    let scenario = Scenario::parse(text).unwrap();
    assert_eq!((scenario.seed, scenario.corruption, scenario.loss), (Some(7), 0.001, 0.01));
    assert_eq!((scenario.service, scenario.makes_keys), (Some(Span(8)), true));
    assert!(scenario.second_slot);
    let faults: Vec<Fault> = scenario.faults.iter().map(|f| f.1).collect();
    let babbled = Frame::classical(Id::Standard(0x010), &[0x01, 0x02]).unwrap();
    assert_eq!(
        faults,
        [
            Fault::Loss { rate: 0.5 },
            Fault::SlowService { service: Span(500) },
            Fault::Absent,
            Fault::Dead { when: Trigger::At(Span::from_millis(900)) },
            Fault::BrownOut { when: Trigger::Programmed(0x0801_0000) },
            Fault::ProgramFails { address: 0x0801_0004 },
            Fault::ReadsBackWrong { address: 0x0801_0008 },
            Fault::EraseFails { address: 0x0802_0000 },
            Fault::EraseSlow { factor: 5.0 },
            Fault::WrongChip { chip: Chip::by_name("F429").unwrap() },
            Fault::WrongRevision { revision: 9 },
            Fault::Protected { level: Protection::Level1 },
            Fault::SameUid { slot: 1 },
            Fault::Babbling { at: Span::from_millis(100), frame: babbled },
            Fault::BusOff { at: Span::ZERO },
            Fault::SupplyLow { millivolts: 2500 },
            Fault::MuteAfterErase,
            Fault::Dead { when: Trigger::Locked },
            Fault::BrownOut { when: Trigger::OptionWrite },
            Fault::Fades { address: 0x0806_0000 },
            Fault::OptionWriteFails,
            Fault::LockIgnored,
            Fault::ReadsWhenLocked,
            Fault::Key { fault: KeyFault::Fails },
            Fault::Key { fault: KeyFault::Hangs },
            Fault::Key { fault: KeyFault::Forged },
            Fault::Key { fault: KeyFault::Foreign },
            Fault::Key { fault: KeyFault::Repeated },
        ]
    );
    assert!(scenario.faults.iter().map(|f| f.0).eq(1..=28));
}

#[test]
fn an_empty_file_is_a_panel_without_faults() {
    assert_eq!(Scenario::parse("").unwrap(), Scenario::default());
}

#[test]
fn a_misspelt_word_is_told_with_its_place_and_the_nearest_known_one() {
    let key = error("seed = 1\n[all]\n  los = 0.1\n");
    assert!(key.starts_with("line 3, column 3: unknown field `los`"), "{key}");
    assert!(key.ends_with("did you mean `loss`?"), "{key}");
    let name = error("[[slot]]\nslot = 1\nfault = \"brownout\"\n");
    assert!(name.starts_with("line 3, column 9: unknown variant `brownout`"), "{name}");
    assert!(name.ends_with("did you mean `brown-out`?"), "{name}");
    let chip = error("[[slot]]\nslot = 1\nfault = \"wrong-chip\"\nchip = \"F103xF\"");
    assert_eq!(chip, "line 4, column 8: unknown chip `F103xF`; did you mean `F103xE`?");
    let table = error("[buss]\n");
    assert!(table.ends_with("did you mean `bus`?"), "{table}");
}

#[test]
fn a_fault_says_what_it_lacks_and_what_it_does_not_know() {
    assert_eq!(
        error("[[slot]]\nslot = 3\nfault = \"dead\"\n"),
        "line 1, column 1: slot 3: this fault needs one of `at_ms`, `at_address` and `when`"
    );
    assert_eq!(
        error("[[slot]]\nslot = 3\nfault = \"absent\"\nfactor = 2\n"),
        "line 4, column 10: slot 3: this fault has no `factor`"
    );
    assert_eq!(
        error("[bus]\ncorruption = 2.0\n"),
        "line 2, column 14: `corruption` is 2, expected 0.0 to 1.0"
    );
    assert_eq!(
        error("[[slot]]\nslot = 3\nfault = \"protected\"\nlevel = 3\n"),
        "line 4, column 9: `level` is 3, expected 1 or 2"
    );
}

#[test]
fn a_number_out_of_range_is_told_with_the_range() {
    let slot = |fault: &str, key: &str| {
        error(&format!("[[slot]]\nslot = 3\nfault = \"{fault}\"\n{key} = 9000000000000000000\n"))
    };
    assert!(slot("dead", "at_ms").ends_with("expected 0 to 86400000"));
    assert!(slot("babbling", "at_ms").ends_with("expected 0 to 86400000"));
    assert!(slot("slow-service", "service_us").ends_with("expected 0 to 10000000"));
    assert!(error("[all]\nservice_us = 10000001\n").ends_with("expected 0 to 10000000"));
    let factor = error("[[slot]]\nslot = 3\nfault = \"erase-slow\"\nfactor = 0\n");
    assert_eq!(factor, "line 4, column 10: `factor` is 0, expected 1 to 1000");
}

#[test]
fn broken_toml_is_an_error_with_a_place_and_not_a_panic() {
    for text in ["[", "seed = ", "\u{fffd}", "[[slot]]\nslot = -1\nfault = \"absent\"", "seed = 1\nseed = 2"]
    {
        assert!(Scenario::parse(text).unwrap_err().line >= 1, "{text}");
    }
}
