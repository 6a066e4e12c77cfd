//! Blank boards: programmed through the ROM bootloader of their chip, or by an agent that came in through it.

use std::path::PathBuf;

use super::harness::{Place, Run, panelflash};

/// Six KiB that begin with a vector table, with a blank block in the middle.
fn image(address: u32) -> Vec<u8> {
    let mut image: Vec<u8> = (0..6144u32).map(|at| (at * 7 + at / 256) as u8).collect();
    image[2048..2560].fill(0xFF);
    image[..4].copy_from_slice(&0x2001_0000u32.to_le_bytes());
    image[4..8].copy_from_slice(&(address + 0x101).to_le_bytes());
    image
}

fn job(place: &Place, lines: &str, address: u32) -> PathBuf {
    place.file("image.bin", image(address));
    place.file("agent.bin", (0..3000u32).map(|at| (at * 13 + at / 64) as u8).collect::<Vec<u8>>());
    place.file(
        "job.toml",
        format!(
            "name = \"rom\"\n{lines}\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n\
             [[image]]\nfile = \"image.bin\"\naddress = {address:#x}\n\
             [agent]\nfile = \"agent.bin\"\naddress = 0x20002000\n"
        ),
    )
}

fn panel(place: &Place, way: &str, rest: &str) -> PathBuf {
    place.file("panel.toml", format!("name = \"blank\"\nrows = 2\ncolumns = 3\nways = [\"{way}\"]\n{rest}"))
}

const BUS: &str = "[[bus]]\nlink = \"sim\"\n";
const PORT: &str = "port = \"sim\"\n";

fn run(place: &Place, way: &str, rest: &str, lines: &str, address: u32, scenario: Option<&str>) -> Run {
    let (job, panel) = (job(place, lines, address), panel(place, way, rest));
    let mut args = vec![job.into_os_string(), "--panel".into(), panel.into_os_string()];
    if let Some(scenario) = scenario {
        args.extend(["--scenario".into(), place.file("scenario.toml", scenario).into_os_string()]);
    }
    place.run(args)
}

#[test]
fn every_way_to_a_blank_board_programs_the_whole_panel() {
    let both = format!("{PORT}{BUS}");
    for (way, rest, address) in [
        ("rom-uart", PORT, 0x0800_0000),
        ("rom-can", BUS, 0x0800_0000),
        ("rom-uart+agent", both.as_str(), 0x0802_0000),
        ("rom-can+agent", BUS, 0x0802_0000),
    ] {
        let place = Place::new();
        let run = run(&place, way, rest, "", address, None);
        run.assert_all_pass();
        assert_eq!(run.boards().len(), 6, "{way}");
        let mut uids: Vec<&str> = run.boards().iter().filter_map(|b| b["uid"].as_str()).collect();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), 6, "{way}: every board has a unique ID of its own in its record");
    }
}

/// Two ports, one for each row of three; both multiplexers are set by the same lines.
const MUX: &str = "port = \"sim\"\n[fixture]\npower = \"sim:p{row}\"\nnrst = \"sim:r{slot}\"\nboot0 = \"sim:b\"\n\
                   mux = [\"sim:a{row}\", \"sim:c{row}\"]\n";

#[test]
fn a_port_with_a_multiplexer_serves_its_slots_one_after_another_and_ports_side_by_side() {
    let one = |rest: &str, way: &str, address| {
        let place = Place::new();
        let run = run(&place, way, rest, "", address, None);
        run.assert_all_pass();
        assert_eq!(run.boards().len(), 6);
        run
    };
    let seconds = |run: &Run| run.json["seconds"].as_f64().unwrap_or_default();
    let own = one(PORT, "rom-uart", 0x0800_0000);
    let multiplexed = one(MUX, "rom-uart", 0x0800_0000);
    let times = seconds(&multiplexed) / seconds(&own);
    assert!((2.5..3.2).contains(&times), "three after another, two at once: {times} times as long");
    let ratio = multiplexed.json["ratio"].as_f64().unwrap_or_default();
    assert!((1.0..1.2).contains(&ratio), "the bound knows of the multiplexers: {ratio}");
    // Different lines for each row, one of them common: rows wait for each other only where they must.
    let common = MUX.replace("sim:c{row}", "sim:c");
    one(&common, "rom-uart", 0x0800_0000);
    let agents = MUX.replace("[fixture]", "[[bus]]\nlink = \"sim\"\n[fixture]");
    one(&agents, "rom-uart+agent", 0x0802_0000);
}

#[test]
fn a_board_behind_a_multiplexer_that_fails_gives_its_turn_to_the_next() {
    let faults = "[[slot]]\nslot = 1\nfault = \"rom\"\nrom = \"mute\"\n\
                  [[slot]]\nslot = 5\nfault = \"rom\"\nrom = \"kill:byte=1500,off-ms=5000\"\n";
    let place = Place::new();
    let run = run(&place, "rom-uart", MUX, "retries = 1", 0x0800_0000, Some(faults));
    assert_eq!(run.failures(), [(1, "error", "E701 rom-no-sync")], "{}", run.stderr);
    assert_eq!(run.board(1)["attempts"], 2);
    assert!(run.board(5)["seconds"].as_f64() > Some(2.0), "its power was away in its turn");
}

#[test]
fn a_faulty_board_fails_with_its_own_code_and_the_others_go_on() {
    let faults = "[[slot]]\nslot = 1\nfault = \"rom\"\nrom = \"mute\"\n\
                  [[slot]]\nslot = 2\nfault = \"protected\"\n\
                  [[slot]]\nslot = 3\nfault = \"wrong-chip\"\nchip = \"F103xE\"\n\
                  [[slot]]\nslot = 4\nfault = \"rom\"\nrom = \"stuck:address=0x08000200\"\n\
                  [[slot]]\nslot = 5\nfault = \"absent\"\n";
    let expected = [
        (1, "error", "E701 rom-no-sync"),
        (2, "fail", "E705 rom-protected"),
        (3, "fail", "E103 wrong-chip"),
        (4, "fail", "E216 verify-mismatch"),
        (5, "error", "E701 rom-no-sync"),
    ];
    let place = Place::new();
    let by_port = run(&place, "rom-uart", PORT, "start_application = false", 0x0800_0000, Some(faults));
    let codes = |run: &Run| run.failures().iter().map(|f| (f.0, f.2.to_owned())).collect::<Vec<_>>();
    let wanted: Vec<(u64, String)> = expected.iter().map(|e| (e.0, e.2.to_owned())).collect();
    assert_eq!(codes(&by_port), wanted, "{}", by_port.stderr);
    assert_eq!(by_port.exit, Some(1));
    assert_eq!(by_port.board(6)["result"], "pass");

    // A wrong chip without a CAN loader in its ROM does not answer there at all.
    let faults = faults.replace("F103xE", "L496");
    let place = Place::new();
    let on_bus = run(&place, "rom-can", BUS, "start_application = false", 0x0800_0000, Some(&faults));
    assert_eq!(codes(&on_bus), wanted, "{}", on_bus.stderr);
    assert_eq!(on_bus.board(6)["result"], "pass");
}

#[test]
fn a_chip_of_an_unknown_product_id_is_named_and_the_others_are_programmed() {
    let fault = "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"product-id:id=0x0FF\"\n";
    for (way, rest) in [("rom-uart", PORT), ("rom-can", BUS)] {
        let place = Place::new();
        let run = run(&place, way, rest, "start_application = false", 0x0800_0000, Some(fault));
        assert_eq!(run.failures(), [(2, "fail", "E704 rom-unknown-chip")], "{way}: {}", run.stderr);
        let detail = run.board(2)["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("0x0ff") && detail.contains("0x413"), "{way}: {detail}");
    }
}

#[test]
fn a_board_that_loses_power_once_is_brought_back_and_passes() {
    for (way, rest, fault) in [
        ("rom-uart", PORT, "kill:byte=1500,off-ms=5000"),
        ("rom-can", BUS, "kill:byte=90,off-ms=5000"),
        ("rom-can+agent", BUS, "kill:byte=90,off-ms=5000"),
    ] {
        let place = Place::new();
        let scenario = format!("[[slot]]\nslot = 4\nfault = \"rom\"\nrom = \"{fault}\"\n");
        let run = run(&place, way, rest, "retries = 1", 0x0802_0000, Some(&scenario));
        run.assert_all_pass();
        let slower = run.board(4)["seconds"].as_f64() > run.board(5)["seconds"].as_f64();
        assert!(slower || way != "rom-uart", "{way}: the fault has struck");
        assert_eq!(run.board(5)["attempts"], 1, "{way}");
    }
}

#[test]
fn a_board_that_stays_silent_is_tried_as_often_as_the_job_says() {
    for (way, rest) in [("rom-uart", PORT), ("rom-can", BUS), ("rom-can+agent", BUS)] {
        let place = Place::new();
        let scenario = "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"mute\"\n";
        let run = run(&place, way, rest, "retries = 2", 0x0802_0000, Some(scenario));
        assert_eq!(run.failures(), [(2, "error", "E701 rom-no-sync")], "{way}: {}", run.stderr);
        assert_eq!(run.board(2)["attempts"], 3, "{way}");
        assert_eq!(run.json["passed"], 5, "{way}");
    }
}

#[test]
fn an_agent_that_dies_is_named_and_the_others_are_programmed() {
    let place = Place::new();
    let scenario = "[[slot]]\nslot = 3\nfault = \"bus-off\"\nat_ms = 0\n";
    let both = format!("{PORT}{BUS}");
    let run = run(&place, "rom-uart+agent", &both, "", 0x0802_0000, Some(scenario));
    assert_eq!(run.failures(), [(3, "fail", "E730 agent-not-started")], "{}", run.stderr);
    assert_eq!(run.json["passed"], 5);
}

#[test]
fn a_plan_names_ways_and_agent_and_what_the_loads_cost() {
    let place = Place::new();
    let (job, panel) = (job(&place, "", 0x0802_0000), panel(&place, "rom-can+agent", BUS));
    let output =
        panelflash("plan").arg(&job).arg("--panel").arg(&panel).arg("--json").output().expect("starts");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["ways"]["6"], "rom-can+agent");
    assert_eq!(plan["agent"]["bytes"], 3000);
    let seconds = |key: &str| plan[key].as_f64().unwrap_or_default();
    assert!(seconds("load_seconds") > 0.0 && seconds("bound_seconds") > seconds("load_seconds"));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let own = "[[slot]]\nnumber = 2\nways = [\"multidrop\"]\n";
    for (way, rest, lines, address, code, word) in [
        (
            "rom-fdcan",
            "[[bus]]\nlink = \"sim\"\nkind = \"fd\"\ndata_bit_rate = 5_000_000\n",
            "",
            0x0800_0000,
            "",
            "FD",
        ),
        ("rom-can", &format!("{BUS}{own}"), "", 0x0802_0000, "E502", "cannot share a bus"),
        ("rom-can+agent", &format!("binding = \"select\"\n{BUS}"), "", 0x0802_0000, "E502", "straps"),
        ("rom-can+agent", BUS, "", 0x080D_F000, "E514", "records"),
        (
            "rom-uart",
            &format!(
                "{MUX}[[bus]]\nlink = \"sim\"\n{slot}ways = [\"rom-uart+agent\"]\n",
                slot = "[[slot]]\nnumber = 2\n"
            ),
            "",
            0x0802_0000,
            "E502",
            "share `mux` lines",
        ),
        ("rom-uart", "port = \"/dev/ttyUSB{slot}\"\n", "production = true", 0x0800_0000, "E723", "ttyUSB"),
    ] {
        let place = Place::new();
        let run = run(&place, way, rest, lines, address, None);
        assert_eq!(run.exit, Some(2), "{way}: {}", run.stderr);
        assert!(run.stderr.contains(code) && run.stderr.contains(word), "{way}: {}", run.stderr);
        assert!(!place.records().exists(), "{way}");
    }
}
