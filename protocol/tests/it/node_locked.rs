//! A locked node: it may be read back as the image that it says it holds, and in no other way.

use crate::node::{BLOCK_END, done, programmed, sample};
use crate::util::flash::OTP;
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, RECORDS};
use panel_protocol::block::{BeginFlags, MAX_BLOCK, Write};
use panel_protocol::message::{BlockKind, Control, NodeFault, NodeMessage, NodeState, Refusal};
use panel_protocol::node::Protection;
use panel_protocol::reply::Reply;
use panel_protocol::time::Span;

/// The image of these bytes, asked for as one to be compared.
fn compared(sample: &Sample) -> Sample {
    Sample::new(10, BeginFlags::COMPARE, &[(APP, sample.bytes[0].clone())])
}

/// A node that holds the sample, is locked, and has started anew.
fn locked(sample: &Sample) -> Solo {
    let mut solo = programmed(sample);
    solo.send(Control::Verify { region: 0 });
    solo.wait(Span::from_millis(100));
    solo.send(Control::Commit { session: sample.begin.session });
    solo.wait(Span::from_millis(100));
    assert_eq!(solo.state(), NodeState::Committed);
    solo.board.node.port_mut().protection = Protection::Level1;
    solo.restart();
    solo.number();
    solo.heard.clear();
    solo
}

fn begin(solo: &mut Solo, sample: &Sample) -> Option<Refusal> {
    solo.heard.clear();
    solo.begin(&sample.begin);
    done(solo, BLOCK_END).expect("an answer").0
}

#[test]
fn a_locked_node_proves_its_image_without_a_write_to_it() {
    let sample = sample();
    let mut solo = locked(&sample);
    let before = solo.port().at(APP, 9000).to_vec();
    let operations = solo.port().operations;
    let again = compared(&sample);
    assert_eq!(begin(&mut solo, &again), None);
    solo.manifest(&again);
    solo.send(Control::Start { session: 10 });
    solo.wait(Span::from_millis(200));
    assert_eq!(solo.state(), NodeState::Programmed);
    let commit = Control::Commit { session: 10 };
    solo.send(Control::Verify { region: 0 });
    solo.wait(Span::from_millis(200));
    let check =
        solo.replies().find_map(|r| if let Reply::RegionCheck(check) = r { Some(check) } else { None });
    assert!(check.expect("a check").matches);
    solo.heard.clear();
    solo.send(commit);
    assert_eq!(done(&solo, commit).expect("an answer").0, None);
    assert_eq!(solo.state(), NodeState::Committed);
    assert_eq!((solo.port().at(APP, 9000), solo.port().operations), (&before[..], operations));
}

#[test]
fn a_locked_node_takes_no_other_image_and_this_one_only_for_comparing() {
    let sample = sample();
    let mut solo = locked(&sample);
    assert_eq!(begin(&mut solo, &sample), Some(Refusal::Protected), "without the flag it would be erased");
    let mut bytes = sample.bytes[0].clone();
    bytes[77] ^= 1;
    let other = Sample::new(11, BeginFlags::COMPARE, &[(APP, bytes)]);
    assert_eq!(begin(&mut solo, &other), Some(Refusal::Protected));
    assert_eq!(solo.state(), NodeState::Idle);
}

#[test]
fn a_locked_node_whose_flash_is_not_what_its_record_says_fails_and_stays_as_it_is() {
    let sample = sample();
    let mut solo = locked(&sample);
    solo.board.node.port_mut().flip(APP + 2048 + 5);
    let before = solo.port().at(APP, 9000).to_vec();
    let records = solo.port().at(RECORDS, 1024).to_vec();
    let again = compared(&sample);
    assert_eq!(begin(&mut solo, &again), None);
    solo.manifest(&again);
    solo.send(Control::Start { session: 10 });
    solo.wait(Span::from_millis(3000));
    assert_eq!(solo.state(), NodeState::Failed);
    let report = solo.messages().find_map(|m| if let NodeMessage::Error(r) = m { Some(*r) } else { None });
    assert_eq!(report.expect("a report").fault, NodeFault::ReadbackDiffers);
    assert_eq!(solo.port().at(APP, 9000), before);
    assert_eq!(solo.port().at(RECORDS, 1024), records);
}

#[test]
fn a_locked_node_takes_no_identity_and_shows_its_option_bytes_only() {
    let sample = sample();
    let mut solo = locked(&sample);
    let mut block = [0; MAX_BLOCK];
    let len = Write { place: APP + 0x8000, may_erase: true, bytes: &[1; 8] }.encode(&mut block);
    solo.block(BlockKind::Identity, &block[..len]);
    assert_eq!(done(&solo, BLOCK_END).unwrap().0, Some(Refusal::Protected));
    let read = |address| Control::Read { address, len: 4 };
    solo.send(read(APP));
    assert_eq!(done(&solo, read(APP)).unwrap().0, Some(Refusal::Protected));
    solo.send(read(OTP.start));
    assert_eq!(done(&solo, read(APP)).unwrap().0, Some(Refusal::Protected));
    solo.send(read(0x1FFF_C000));
    assert_eq!(done(&solo, read(APP)).unwrap().0, Some(Refusal::OutsideFlash), "this board has none to show");
}
