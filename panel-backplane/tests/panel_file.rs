//! panel.toml: what a short file means, and what is said about a wrong one.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use panel_backplane::units::BitRate;
use panel_backplane::{
    Binding, BusIndex, BusKind, Connection, LineFunction, Link, Mark, Panel, Port, Position, ProblemKind,
    Slot, Way, error_code,
};
use panel_codes::Code;
use panel_protocol::time::Span;
use proptest::prelude::*;

const SHORT: &str = r#"
name = "widget"
rows = 3
columns = 7
bus = [{ link = "socketcan:can0" }]
"#;

/// The messages of a file, each after its line.
fn messages(text: &str) -> Vec<String> {
    let problems = Panel::parse(text).unwrap_err();
    problems.list().iter().map(|p| format!("{}: {}", p.at.line, p.kind)).collect()
}

#[test]
fn a_regular_grid_is_four_lines() {
    let panel = Panel::parse(SHORT).unwrap();
    assert_eq!((panel.slots.len(), panel.mark, panel.binding), (21, Mark::TopLeft, Binding::Straps));
    assert_eq!(panel.buses[0].link, Link::SocketCan("can0".to_owned()));
    assert_eq!(panel.buses[0].speed(), "can-1M");
    let slot = panel.slot(Slot(8)).unwrap();
    assert_eq!((slot.row, slot.column, slot.strap, slot.bus), (2, 1, 8, Some(BusIndex(0))));
    assert_eq!(slot.ways, [Way::Multidrop]);
    assert!(panel.fixture.lines.is_empty(), "a real panel has only the lines it names");
}

#[test]
fn a_simulated_panel_has_every_line() {
    let panel = Panel::parse("name = 'x'\nrows = 1\ncolumns = 2\n[[bus]]\n").unwrap();
    assert_eq!(panel.fixture.lines.len(), 8);
    let power = panel.line(panel.slots[1].lines.power.unwrap()).unwrap();
    assert_eq!(power.wire.connection, Connection::Sim("power/2".to_owned()));
}

#[test]
fn a_large_fixture_is_described_by_rules_and_exceptions() {
    let text = r#"
        name = "tower"
        rows = 8
        columns = 16
        mark = "bottom-right"
        numbering = "snake-rows"
        split = "rows"
        straps = "per-bus"
        ways = ["rom-uart+agent", "multidrop"]
        port = "/dev/serial/by-path/usb-0:{bus}.{slot}:1.0"
        baud = 460800
        bad_marks = [3, 128]

        [[bus]]
        name = "upper"
        kind = "fd"
        bit_rate = "500k"
        data_bit_rate = 2_000_000
        link = "socketcan:can0"

        [[bus]]
        name = "lower"
        link = "slcan:/dev/serial/by-id/a"

        [fixture]
        power = "gpio:backplane/PWR_ROW{row}"
        nrst = "!gpio:backplane/NRST{slot}"
        inrush_slots = 16
        discharge = "0.25 s"
        interlock = "!gpio:backplane/LID"
        start = "cts:/dev/serial/by-path/usb-0:8:1.0"

        [[slot]]
        number = 17
        bus = "lower"
        strap = 200
        port = "tcp://10.0.0.7:4017"
        ways = ["multidrop"]
        nrst = "rts:/dev/ttyS0"
        bad = true
    "#;
    let panel = Panel::parse(text).unwrap();
    assert_eq!(panel.buses[0].kind, BusKind::Fd { data_bit_rate: BitRate(2_000_000) });
    assert_eq!((panel.mark, panel.baud), (Mark::BottomRight, 460_800));
    let slot = |n| panel.slot(Slot(n)).unwrap();
    assert_eq!((slot(32).row, slot(32).column), (2, 1));
    assert_eq!((slot(64).bus, slot(65).bus), (Some(BusIndex(0)), Some(BusIndex(1))));
    assert_eq!(slot(16).strap, 16);
    assert_eq!((slot(17).bus, slot(17).strap, slot(17).bad), (Some(BusIndex(1)), 200, true));
    assert_eq!(slot(17).port, Some(Port::Tcp("10.0.0.7:4017".to_owned())));
    assert_eq!((&slot(17).ways[..], slot(3).bad), (&[Way::Multidrop][..], true));
    assert_eq!(slot(70).port, Some(Port::Serial("/dev/serial/by-path/usb-0:2.70:1.0".to_owned())));
    let power = panel.line(slot(20).lines.power.unwrap()).unwrap();
    assert_eq!(power.slots.len(), 16, "a row shares its power line");
    assert_eq!(power.slots[0], Slot(17));
    assert!(panel.line(slot(20).lines.nrst.unwrap()).unwrap().wire.active_low);
    assert_eq!(slot(20).lines.boot0, None);
    let inputs = &panel.fixture.inputs;
    assert_eq!(inputs.interlock.as_ref().unwrap().to_string(), "!gpio:backplane/LID");
    assert!(inputs.start.as_ref().unwrap().to_string().starts_with("cts:/dev/serial/by-path/"));
    assert_eq!(panel.fixture.timing.discharge, Span::from_millis(250));
    assert_eq!(panel.on_bus(BusIndex(0)).count(), 62, "64 less slots 3 and 17");
}

#[test]
fn a_panel_of_ports_needs_no_bus() {
    let text = "name = 'u'\nrows = 1\ncolumns = 4\nways = ['rom-uart']\nport = 'sim'\n";
    let panel = Panel::parse(text).unwrap();
    assert!(
        panel.buses.is_empty() && panel.slots.iter().all(|s| s.bus.is_none() && s.port == Some(Port::Sim))
    );
}

/// Two rows of three slots, a port for each row.
fn multiplexed(mux: &str, rest: &str) -> String {
    format!(
        "name='m'\nrows=2\ncolumns=3\nways=['rom-uart']\nport='/dev/r{{row}}'\n[fixture]\nmux={mux}\n{rest}"
    )
}

#[test]
fn a_port_serves_several_slots_through_a_multiplexer() {
    let panel = Panel::parse(&multiplexed("['gpio:b/A', '!gpio:b/B']", "")).unwrap();
    let channels: Vec<u16> = panel.slots.iter().map(|s| s.mux.as_ref().unwrap().channel).collect();
    assert_eq!(channels, [0, 1, 2, 0, 1, 2]);
    assert_eq!(panel.fixture.lines.len(), 2, "both multiplexers hang on the same lines");
    assert!(panel.fixture.lines.iter().all(|l| l.function == LineFunction::Mux && l.slots.len() == 6));
    let lines: Vec<(String, bool)> = panel.slots[5]
        .mux
        .iter()
        .flat_map(panel_backplane::Mux::levels)
        .map(|(line, on)| (panel.line(line).unwrap().wire.to_string(), on))
        .collect();
    assert_eq!(lines, [("gpio:b/A".to_owned(), false), ("!gpio:b/B".to_owned(), true)]);

    let own =
        Panel::parse(&multiplexed("['gpio:b/A{row}', 'gpio:b/B{row}']", "[[slot]]\nnumber=2\nchannel=3\n"));
    let own = own.unwrap();
    assert_eq!(own.fixture.lines.len(), 4, "two for each row");
    assert_eq!(own.slots[1].mux.as_ref().unwrap().channel, 3);
    assert_eq!(own.slots[2].mux.as_ref().unwrap().channel, 2);
}

#[test]
fn multiplexers_that_cannot_be_are_refused_by_line() {
    let slot = |n: u16, rest: &str| format!("[[slot]]\nnumber={n}\n{rest}\n");
    for (mux, rest, expected) in [
        (
            "['gpio:b/A']",
            String::new(),
            "slot 3 would be channel 2 of port /dev/r1: 1 `mux` lines set channels 0 to 1",
        ),
        (
            "['gpio:b/A{column}']",
            String::new(),
            "slots with the port /dev/r1 have different `mux` lines, slot 2 too",
        ),
        ("['gpio:b/A', 'gpio:b/A']", String::new(), "`mux` names one line twice"),
        (
            "['gpio:b/A', 'gpio:b/B']",
            slot(2, "channel=0"),
            "slot 2 has channel 0 of port /dev/r1 like slot 1",
        ),
        ("['gpio:b/A', 'gpio:b/B']", "nrst='gpio:b/B'".to_owned(), "`gpio:b/B` of `mux` is a nrst line, too"),
        (
            "['gpio:b/A', 'gpio:b']",
            String::new(),
            "`mux` is not usable: `gpio:b` is not a line: a GPIO line is `gpio:CHIP/LINE`",
        ),
        ("[]", String::new(), "`mux` is not usable: a multiplexer has 1 to 16 lines"),
        ("'gpio:b/A'", String::new(), "`mux` must be a list in square brackets, not a text in quotes"),
    ] {
        let found = messages(&multiplexed(mux, &rest));
        assert!(found.iter().any(|m| m.ends_with(expected)), "{mux} {rest}: {found:?}");
    }
    let found = messages("name='m'\nrows=1\ncolumns=1\nbus=[{}]\n[fixture]\nmux=['gpio:b/A']\n");
    assert_eq!(found, ["6: `mux` leads a `port` to several slots, and no slot has one"]);
    let found = messages("name='m'\nrows=1\ncolumns=1\nbus=[{}]\n[[slot]]\nnumber=1\nchannel=1\n");
    assert_eq!(found, ["7: `channel` belongs to a fixture with `mux` lines"]);
}

#[test]
fn slots_of_an_irregular_panel_are_listed() {
    let text = "name='l'\nrows=2\ncolumns=2\nnumbering='listed'\nbus=[{}]\n\
                slot=[{number=7,row=1,column=2},{number=3,row=2,column=1,strap=9}]\n";
    let panel = Panel::parse(text).unwrap();
    let found: Vec<_> = panel.slots.iter().map(|s| (s.slot.0, s.row, s.column, s.strap)).collect();
    assert_eq!(found, [(3, 2, 1, 9), (7, 1, 2, 7)]);
    assert_eq!(panel.at(1, 1), None);
}

#[test]
fn split_lists_say_which_slots_a_bus_has() {
    let text = "name='s'\nrows=1\ncolumns=5\nbus=[{},{}]\nsplit=['1, 4-5', '2-3']\n";
    let panel = Panel::parse(text).unwrap();
    let buses: Vec<u8> = panel.slots.iter().map(|s| s.bus.unwrap().0).collect();
    assert_eq!(buses, [0, 1, 1, 0, 0]);
}

#[test]
fn every_problem_is_reported_with_its_place_and_the_nearest_word() {
    let text = r#"name = "x"
rows = 2
colums = 2
columns = 2
numbering = "snake-row"
mark = 4
straps = "none"

[[bus]]
kind = "classical"
data_bit_rate = "2M"
bitrate = "500k"

[fixture]
powr = "sim:a"
stagger = "5"
inrush_slots = 0
"#;
    let problems = Panel::parse(text).unwrap_err();
    let shown: Vec<String> = problems.list().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "line 3, column 1: unknown key `colums` in the file, did you mean `columns`?",
            "line 5, column 13: `numbering` is `snake-row`, which is none of `rows`, `columns`, `snake-rows`, \
             `snake-columns`, `listed`, did you mean `snake-rows`?",
            "line 6, column 8: `mark` must be a word in quotes, not a whole number",
            "line 7, column 10: `straps` is `none`, which is none of `per-panel`, `per-bus`",
            "line 11, column 17: `data_bit_rate` belongs to a bus of the kind \"fd\"",
            "line 12, column 1: unknown key `bitrate` in [[bus]], did you mean `bit_rate`?",
            "line 15, column 1: unknown key `powr` in [fixture], did you mean `power`?",
            "line 16, column 11: `stagger` is not usable: `5` is not a time with its unit, such as \"20 ms\"",
            "line 17, column 16: `inrush_slots` is not usable: 0 slots at a time would switch none on",
        ]
    );
    assert_eq!(error_code(&problems), Code::PanelFile);
}

#[test]
fn a_missing_key_and_a_syntax_error_are_reported_together() {
    let found = messages("columns = 2\nrows = = 3\nbus = [{}]\n");
    assert!(found.iter().any(|m| m.starts_with("2: not valid TOML")), "{found:?}");
    assert!(found.contains(&"1: the file needs the key `name`".to_owned()), "{found:?}");
}

#[test]
fn things_given_twice_are_reported_with_both_lines() {
    let text = "name='d'\nrows=2\ncolumns=2\nnumbering='listed'\nbus=[{}]\n\
        [[slot]]\nnumber=1\nrow=1\ncolumn=1\n\
        [[slot]]\nnumber=1\nrow=1\ncolumn=2\n\
        [[slot]]\nnumber=2\nrow=1\ncolumn=1\nstrap=1\n\
        [[slot]]\nnumber=3\nrow=2\ncolumn=1\nstrap=1\nport='/dev/a'\n\
        [[slot]]\nnumber=4\nrow=2\ncolumn=2\nport='/dev/a'\n";
    let problems = Panel::parse(text).unwrap_err();
    let found: Vec<String> = problems.list().iter().map(|p| format!("{}: {}", p.at.line, p.kind)).collect();
    assert_eq!(
        found,
        [
            "11: slot 1 is defined twice (first on line 7)",
            "16: slot 2 is at the place of slot 1: row 1, column 1 (first on line 8)",
            "18: slot 2 has strap 1 on one bus with slot 1 (first on line 6)",
            "23: slot 3 has strap 1 on one bus with slot 1 (first on line 6)",
            "29: slot 4 has the port of slot 3: /dev/a (first on line 24)",
        ]
    );
    assert_eq!(error_code(&problems), Code::DuplicateSlot);
}

#[test]
fn a_strap_that_takes_anothers_default_is_reported_where_it_is_written() {
    let found = messages("name='d'\nrows=1\ncolumns=3\nbus=[{}]\nslot=[{number=1,strap=3}]\n");
    assert_eq!(found, ["5: slot 3 has strap 3 on one bus with slot 1"]);
}

#[test]
fn slots_outside_the_panel_are_reported() {
    let listed =
        "name='o'\nrows=2\ncolumns=2\nnumbering='listed'\nbus=[{}]\nslot=[{number=1,row=3,column=0}]\n";
    assert_eq!(
        messages(listed),
        ["6: slot 1 is outside the grid: row 3 of 2", "6: slot 1 is outside the grid: column 0 of 2"]
    );
    let regular =
        "name='o'\nrows=2\ncolumns=2\nbad_marks=[9]\nbus=[{}]\nslot=[{number=5},{number=1,row=1}]\n";
    let found = messages(regular);
    assert_eq!(found[0], "4: `bad_marks` names slot 9, which the panel does not have");
    assert_eq!(found[1], "6: slot 5 is outside the panel, whose slots are 1 to 4");
    assert!(found[2].contains("numbering = \"listed\""), "{found:?}");
    assert_eq!(found.len(), 3);
}

#[test]
fn buses_that_do_not_go_together_are_reported() {
    let text = "name='b'\nrows=1\ncolumns=4\nsplit=['1-2','2-9']\n\
        slot=[{number=3,bus='lft'}]\n\
        [[bus]]\nname='left'\nlink='socketcan:can0'\n\
        [[bus]]\nname='left'\nlink='socketcan:can0'\n\
        [[bus]]\nname='idle'\nlink='usb'\nbit_rate='2M'\n";
    let found = messages(text);
    for expected in [
        "4: `split` has 2 lists for 3 buses",
        "4: slot 2 is in two lists of `split`",
        "4: `split` names slots that the panel does not have: 2-9",
        "5: there is no bus `lft`, did you mean `left`?",
        "9: two buses have the name `left` (first on line 6)",
        "9: two buses have the link `socketcan:can0` (first on line 6)",
        "12: no slot is on bus `idle`",
        "15: `bit_rate` is not usable: 2M is not 10k to 1M",
    ] {
        assert!(found.iter().any(|m| m == expected), "{expected}: {found:#?}");
    }
    assert!(
        found.iter().any(|m| m.starts_with("14: `link` is not usable: `usb` is not `sim`")),
        "{found:#?}"
    );
}

#[test]
fn what_a_way_or_binding_needs_is_demanded() {
    let base = "name='w'\nrows=1\ncolumns=2\n";
    let of = |rest: &str| messages(&format!("{base}{rest}"));
    assert_eq!(of(""), ["2: the way \"multidrop\" needs a bus for slot 1"]);
    assert_eq!(of("bus=[{}]\nways=['rom-uart']"), ["2: the way \"rom-uart\" needs a port for slot 1"]);
    assert_eq!(
        of("bus=[{link='socketcan:can0'}]\nways=['rom-can']"),
        ["2: the way \"rom-can\" needs a power or NRST line of its own for slot 1"]
    );
    assert_eq!(
        of("bus=[{link='socketcan:can0'}]\nbinding='select'\n[fixture]\nselect='gpio:c/S'"),
        ["2: this `binding` needs a select line of its own for slot 1"]
    );
    assert_eq!(
        of("bus=[{link='socketcan:can0'}]\nbinding='power-groups'\n[fixture]\npower='gpio:c/P'"),
        ["2: this `binding` needs a power or NRST line of its own for slot 1"]
    );
    assert_eq!(of("bus=[{}]\nways=[]"), ["5: `ways` is not usable: it names no way that is known"]);
}

#[test]
fn lines_that_contradict_each_other_are_reported() {
    let base = "name='f'\nrows=1\ncolumns=2\nbus=[{link='socketcan:can0'}]\n";
    let of = |rest: &str| messages(&format!("{base}{rest}"));
    assert_eq!(
        of("[fixture]\npower='gpio:c/{slot}'\nnrst='gpio:c/{slot}'"),
        ["2: `gpio:c/1` is both a nrst and a power line"]
    );
    assert_eq!(
        of("slot=[{number=2,power='!gpio:c/P'}]\n[fixture]\npower='gpio:c/P'"),
        ["5: `!gpio:c/P` is written with both polarities"]
    );
    let found = of("[fixture]\npower='gpio:{slot}'\nnrst='sim:{place}'");
    assert!(found[0].starts_with("6: `power` is not usable: `gpio:1` is not a line"), "{found:?}");
    assert_eq!(found[1], "7: `nrst` is not usable: only {slot}, {row}, {column} and {bus} are replaced");
}

#[test]
fn a_port_rule_without_the_slot_in_it_is_reported_once() {
    let found = messages("name='p'\nrows=1\ncolumns=4\nways=['rom-uart']\nport='/dev/ttyS0'\n");
    assert!(found[0].starts_with("5: slot 2 has the port of slot 1: /dev/ttyS0"), "{found:?}");
    assert_eq!(found.iter().filter(|m| m.contains("has the port")).count(), 1);
}

#[test]
fn grids_without_slots_or_with_too_many_are_refused() {
    for (rows, columns) in [("0", "1"), ("1", "1025"), ("65535", "65535")] {
        let found = messages(&format!("name='g'\nrows={rows}\ncolumns={columns}\nbus=[{{}}]\n"));
        assert_eq!(found, [format!("2: {rows} rows of {columns} slots is not 1 to 1024 slots")]);
    }
    let found = messages("name='g'\nrows=-1\ncolumns=70000\nbus=[{}]\n");
    assert_eq!(found[0], "2: `rows` is not usable: -1 is not in 0 to 65535");
    assert_eq!(found[1], "3: `columns` is not usable: 70000 is not in 0 to 65535");
}

#[test]
fn columns_count_characters_not_bytes() {
    let problems = Panel::parse("name = 'é'\nrows=1\ncolumns=1\nbus=[{name='äö', lnk='sim'}]").unwrap_err();
    assert_eq!(problems.list()[0].at, Position { line: 4, column: 18 });
    assert!(matches!(problems.list()[0].kind, ProblemKind::UnknownKey { .. }));
}

proptest! {
    #[test]
    fn any_text_is_a_panel_or_a_list_of_problems(text in "(?s).{0,200}") {
        if let Err(problems) = Panel::parse(&text) {
            prop_assert!(!problems.list().is_empty());
        }
    }

    #[test]
    fn any_values_under_known_keys_are_a_panel_or_a_list_of_problems(
        lines in prop::collection::vec((0..KEYS.len(), value()), 0..12),
        buses in prop::collection::vec(prop::collection::vec((0..BUS_KEYS.len(), value()), 0..3), 0..4),
        slots in prop::collection::vec(prop::collection::vec((0..SLOT_KEYS.len(), value()), 0..5), 0..5),
    ) {
        let mut text = "name='x'\nrows=2\ncolumns=3\n".to_owned();
        let table = |keys: &[&str], entries: &[(usize, String)]| {
            let mut seen = std::collections::BTreeMap::new();
            entries.iter().for_each(|(k, v)| { seen.insert(keys[*k], v.clone()); });
            seen.iter().map(|(k, v)| format!("{k} = {v}\n")).collect::<String>()
        };
        text += &table(KEYS, &lines);
        for bus in &buses {
            text += &format!("[[bus]]\n{}", table(BUS_KEYS, bus));
        }
        for (n, slot) in (1..).zip(&slots) {
            text += &format!("[[slot]]\nnumber = {n}\n{}", table(SLOT_KEYS, slot));
        }
        match Panel::parse(&text) {
            Ok(panel) => prop_assert!(panel.slots.iter().all(|s| s.bus.is_none_or(|b| panel.bus(b).is_some()))),
            Err(problems) => prop_assert!(!problems.list().is_empty()),
        }
    }
}

const KEYS: &[&str] =
    &["mark", "numbering", "split", "straps", "binding", "ways", "bad_marks", "port", "baud"];
const BUS_KEYS: &[&str] = &["name", "kind", "bit_rate", "data_bit_rate", "link", "ways"];
const SLOT_KEYS: &[&str] = &["row", "column", "bus", "strap", "port", "ways", "bad", "power", "select"];

fn value() -> impl Strategy<Value = String> {
    let words = [
        "1",
        "2",
        "3",
        "'top-right'",
        "'listed'",
        "'rows'",
        "'columns'",
        "['1-3', '4-6']",
        "['5']",
        "'per-bus'",
        "'select'",
        "'power-groups'",
        "['rom-uart']",
        "['rom-can', 'multidrop']",
        "[1, 6]",
        "'sim'",
        "'/dev/a{slot}'",
        "115200",
        "'fd'",
        "'1M'",
        "'5M'",
        "'socketcan:can0'",
        "true",
        "'bus1'",
        "'gpio:c/{slot}'",
        "[]",
        "''",
        "{}",
    ];
    prop::sample::select(words.map(str::to_owned).to_vec())
}
