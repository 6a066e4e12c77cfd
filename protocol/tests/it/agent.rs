//! A node that is the RAM agent: what it does without, and that a resident bootloader starts what it wrote.

use crate::node::{BLOCK_END, done};
use crate::util::flash::Port;
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, Rng, uid};
use panel_protocol::block::{BeginFlags, MAX_BLOCK, Write};
use panel_protocol::message::{BlockKind, Control, NodeState, Refusal};
use panel_protocol::node::{Capabilities, Protection, startable};
use panel_protocol::time::Span;

fn agent() -> Port {
    let mut port = Port::new(uid(1), None);
    port.facts.capabilities |= Capabilities::AGENT;
    port
}

/// An application that can be started.
fn application(seed: u64, flags: BeginFlags) -> Sample {
    let mut bytes = Rng::new(seed).bytes(5000);
    bytes[4..8].copy_from_slice(&(APP + 0x41).to_le_bytes());
    Sample::new(seed as u8, flags, &[(APP, bytes)])
}

fn commit(solo: &mut Solo, sample: &Sample) {
    solo.send(Control::Commit { session: sample.begin.session });
    solo.wait(Span::from_millis(10));
    assert_eq!(solo.state(), NodeState::Committed);
}

/// What the resident bootloader of this board would start.
fn started(solo: &Solo) -> Option<u32> {
    let mut port = solo.port().clone();
    port.facts.capabilities -= Capabilities::AGENT;
    port.power_up();
    startable(&mut port, 0)
}

#[test]
fn a_resident_bootloader_starts_what_an_agent_has_written_and_nothing_before_it_is_committed() {
    let mut port = agent();
    for round in 1..=12 {
        // One agent after another, until the records have been full once.
        let sample = application(round, BeginFlags::empty());
        let mut solo = Solo::numbered(port, 4);
        solo.transfer(&sample);
        solo.rest();
        assert_eq!(started(&solo), None, "agent {round}");
        commit(&mut solo, &sample);
        assert_eq!(started(&solo), Some(APP), "agent {round}");
        assert!(sample.is_in(solo.port()));
        port = solo.port().clone();
        port.power_up();
    }
}

#[test]
fn an_agent_that_is_told_to_compare_takes_the_whole_image() {
    let first = application(1, BeginFlags::empty());
    let mut solo = Solo::numbered(agent(), 4);
    solo.transfer(&first);
    solo.rest();
    commit(&mut solo, &first);
    let again = application(2, BeginFlags::COMPARE);
    let erases = solo.port().erases;
    solo.transfer(&again);
    solo.rest();
    commit(&mut solo, &again);
    assert!(again.is_in(solo.port()) && solo.port().erases > erases);
    assert_eq!(started(&solo), Some(APP));
}

#[test]
fn an_agent_sets_neither_option_bytes_nor_readout_protection() {
    let mut solo = Solo::numbered(agent(), 4);
    let protect = Control::SetProtection { level: Protection::Level1, consent: 0 };
    solo.send(protect);
    assert_eq!(done(&solo, protect).map(|(refusal, _)| refusal), Some(Some(Refusal::Unsupported)));
    let mut block = [0; MAX_BLOCK];
    let len = Write { place: 2, may_erase: false, bytes: &[1] }.encode(&mut block);
    solo.heard.clear();
    solo.block(BlockKind::Options, &block[..len]);
    assert_eq!(done(&solo, BLOCK_END).map(|(refusal, _)| refusal), Some(Some(Refusal::Unsupported)));
    assert_eq!(solo.port().protection, Protection::Open);
}
