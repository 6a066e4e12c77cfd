//! The tables of the wire specification say what the code does, and its examples are golden bytes.

use crate::golden::{controls, lines, node_messages, replies};
use panel_protocol::block;
use panel_protocol::frame::Id;
use panel_protocol::ident::{Channel, NodeId, PIECES};
use panel_protocol::message::{self, BlockKind, HostMessage, NodeFault, NodeState, Refusal, StatusFlags};
use panel_protocol::node::{Capabilities, MAX_RUNS};
use panel_protocol::reply::{self, MAX_REPLY};
use panel_protocol::stream::MAX_ENCODED;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

const DOC: &str = include_str!("../../../docs/protocol.md");

/// The rows of the table whose head begins with these columns.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let at = DOC.find(&format!("| {head} |")).unwrap_or_else(|| panic!("no table with the head {head}"));
    let rows = DOC[at..].lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Number and name of each row.
fn numbered(head: &str) -> BTreeSet<(u32, String)> {
    let rows = table(head).into_iter().filter(|row| !row[0].is_empty());
    rows.map(|row| (number(row[0]), row[1].to_owned())).collect()
}

fn number(text: &str) -> u32 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text} is no number"))
}

/// The name of a variant.
fn name(value: &impl Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn opcodes_of_control_are_those_of_the_code() {
    let code = controls().into_iter().map(|(_, control)| (u32::from(control.opcode()), name(&control)));
    assert_eq!(numbered("opcode | name | bytes 1 and following"), code.collect());
}

#[test]
fn opcodes_of_node_messages_are_those_of_the_code() {
    let node = NodeId::new(5).expect("a node number");
    let urgent = node_messages().into_iter().filter_map(|(_, message)| {
        let frame = message.to_frame(node);
        let opcode = matches!(Channel::of(frame.id()), Some(Channel::Urgent(_))).then(|| frame.data()[0])?;
        Some((u32::from(opcode), name(&message)))
    });
    let mut doc = numbered("opcode | name | identifier | bytes");
    doc.extend(numbered("opcode | name | bytes"));
    doc.insert((0x03, "Error".to_owned()));
    assert!(DOC.contains("Error has opcode 0x03 on 0x080 + n"));
    assert_eq!(doc, urgent.collect());
}

#[test]
fn identifiers_are_those_of_the_code() {
    let mut seen = BTreeMap::new();
    for row in table("identifier | format | sender | meaning") {
        let (identifier, meaning) = (row[0], row[3]);
        if row[1] == "extended" || meaning.starts_with("reserved") {
            continue;
        }
        let channel: String = meaning.chars().take_while(|c| c.is_alphanumeric()).collect();
        let (first, count) = match (identifier.split_once(" + n"), identifier.split_once(" to ")) {
            (Some((base, _)), _) => (number(base), 128),
            (_, Some((from, to))) => (number(from), number(to) - number(from) + 1),
            _ => (number(identifier), 1),
        };
        (first..first + count).for_each(|id| _ = seen.insert(id as u16, channel.clone()));
    }
    for id in 0..0x800u16 {
        let code = Channel::of(Id::Standard(id)).map(|channel| name(&channel));
        assert_eq!(seen.get(&id), code.as_ref(), "identifier {id:#05x}");
    }
}

#[test]
fn kinds_states_and_codes_are_those_of_the_code() {
    let numbers = |all: &[(u32, String)]| all.iter().cloned().collect::<BTreeSet<_>>();
    let kinds = replies().into_iter().map(|(_, reply)| {
        let mut out = [0; MAX_REPLY];
        reply.encode(&mut out);
        (u32::from(out[0]), name(&reply))
    });
    assert_eq!(numbered("kind | name | fields"), kinds.collect());
    let blocks = [BlockKind::Begin, BlockKind::Identity, BlockKind::Options, BlockKind::Key]
        .map(|k| (k as u32, name(&k)));
    assert_eq!(numbered("kind | name | content"), numbers(&blocks));
    let all = |of: &dyn Fn(u8) -> Option<String>| {
        (0..=255).filter_map(|b| Some((u32::from(b), of(b)?))).collect::<BTreeSet<_>>()
    };
    assert_eq!(numbered("refusal | name | meaning"), all(&|b| Refusal::from_byte(b).map(|r| name(&r))));
    assert_eq!(numbered("fault | name | meaning"), all(&|b| NodeFault::from_byte(b).map(|f| name(&f))));
    assert_eq!(
        numbered("state | name | entered | left"),
        all(&|b| NodeState::from_byte(b).map(|s| name(&s)))
    );
}

#[test]
fn bits_are_those_of_the_code() {
    let flags =
        StatusFlags::all().iter_names().map(|(name, flag)| (flag.bits().trailing_zeros(), name.to_owned()));
    assert_eq!(numbered("bit | flag"), flags.collect());
    let all = Capabilities::all().iter_names();
    let capabilities = all.map(|(name, flag)| (flag.bits().trailing_zeros(), name.to_owned()));
    assert_eq!(numbered("bit | capability"), capabilities.collect());
}

#[test]
fn limits_and_timers_are_those_of_the_code() {
    let limits = [
        ("SEGMENT", message::SEGMENT),
        ("CHUNK_CLASSICAL", message::CHUNK_CLASSICAL),
        ("CHUNK_FD", message::CHUNK_FD),
        ("MISSING_LIST", message::MISSING_LIST),
        ("BLOCK_PART", message::BLOCK_PART),
        ("MAX_BLOCK", block::MAX_BLOCK),
        ("MAX_WRITE", block::MAX_WRITE),
        ("MAX_NAME", block::MAX_NAME),
        ("MAX_REGIONS", block::MAX_REGIONS),
        ("MAX_RUNS", MAX_RUNS),
        ("MAX_REPLY", MAX_REPLY),
        ("MAX_READ", reply::MAX_READ),
        ("PIECES", PIECES.into()),
        ("MAX_ENCODED", MAX_ENCODED),
    ];
    let doc = table("name | value | meaning").into_iter().map(|row| (row[0], number(row[1]) as usize));
    assert_eq!(doc.collect::<BTreeMap<_, _>>(), limits.into_iter().collect());
    let sources = [
        include_str!("../../src/node/receive.rs"),
        include_str!("../../src/node/mod.rs"),
        include_str!("../../src/host/stream/behind.rs"),
        include_str!("../../src/host/mod.rs"),
        include_str!("../../src/host/ask.rs"),
    ];
    for row in table("timer | value | where") {
        let millis = row[1].strip_suffix(" ms").expect("milliseconds");
        let constant = format!("const {}: Span = Span::from_millis({millis});", row[0]);
        let field = format!("{}: Span::from_millis({millis}),", row[0]);
        let found = sources.iter().any(|source| source.contains(&constant) || source.contains(&field));
        assert!(found, "{} is not {millis} ms in the code", row[0]);
    }
}

#[test]
fn examples_are_golden_bytes() {
    let mut golden: BTreeSet<String> = BTreeSet::new();
    let line = |name: &str, columns: &[&str]| {
        let columns: Vec<&str> = [name].into_iter().chain(columns.iter().copied()).collect();
        columns.join("|").trim_end_matches('|').to_owned()
    };
    for file in [
        include_str!("../golden/v1/host.txt"),
        include_str!("../golden/v1/node.txt"),
        include_str!("../golden/v1/reply.txt"),
        include_str!("../golden/v1/block.txt"),
        include_str!("../golden/v1/stream.txt"),
    ] {
        golden.extend(lines(file).iter().map(|(name, columns)| line(name, columns)));
    }
    let mut count = 0;
    for example in DOC.lines().filter(|l| l.starts_with("    ") && l.contains(" | ")) {
        let columns: Vec<&str> = example.split('|').map(str::trim).collect();
        assert!(golden.contains(&line(columns[0], &columns[1..])), "no golden bytes: {example}");
        count += 1;
    }
    assert!(count > 40, "{count} examples");
}

#[test]
fn the_words_and_the_consent_are_those_of_the_code() {
    let text = |message: HostMessage<'_>| message.to_frame().data().escape_ascii().to_string();
    assert!(DOC.contains(&format!("Payload \"{}\"", text(HostMessage::Stop))));
    let node = NodeId::new(0x41).expect("a node number");
    let silence = text(HostMessage::Silence(node));
    assert!(
        DOC.contains(&format!("Payload: number, \"{}\"", silence.strip_prefix('A').expect("number first")))
    );
    assert!(DOC.contains(&format!("consent {:#06X}", message::LEVEL2_CONSENT).replace("0X", "0x")));
}
