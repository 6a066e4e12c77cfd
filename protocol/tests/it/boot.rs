//! Which applications a bootloader starts by itself: whole ones. Every wrong bit anywhere keeps it from that.

use crate::util::flash::Port;
use crate::util::solo::{Sample, Solo};
use crate::util::{APP, BASE, RECORDS, Rng, uid};
use panel_protocol::block::BeginFlags;
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::HOST_FILTERS;
use panel_protocol::message::{Control, HostMessage};
use panel_protocol::node::{asks_to_stay, startable};
use panel_protocol::time::Span;

/// Slots of the records after one update of two regions: incomplete, two regions, valid.
const SLOTS: u32 = 4;

/// An application of two regions, the first with a vector table at its beginning.
fn application() -> Sample {
    let mut first = Rng::new(7).bytes(3000);
    first[..4].copy_from_slice(&0x2000_4000_u32.to_le_bytes());
    first[4..8].copy_from_slice(&(APP + 0x41).to_le_bytes());
    let second = Rng::new(8).bytes(500);
    Sample::new(9, BeginFlags::empty(), &[(APP, first), (APP + 0x2000, second)])
}

/// A board that was updated with it.
fn updated(sample: &Sample) -> Port {
    let mut solo = Solo::numbered(Port::new(uid(1), None), 4);
    solo.transfer(sample);
    solo.send(Control::Commit { session: 9 });
    solo.wait(Span::from_millis(10));
    solo.port().clone()
}

fn flip(port: &mut Port, address: u32, bit: u32) {
    port.bytes[(address - BASE) as usize] ^= 1 << bit;
}

#[test]
fn a_committed_application_may_start_and_an_uncommitted_one_may_not() {
    let sample = application();
    let mut solo = Solo::numbered(Port::new(uid(1), None), 4);
    assert_eq!(startable(&mut solo.port().clone(), 0), None, "nothing was ever written");
    solo.transfer(&sample);
    assert_eq!(startable(&mut solo.port().clone(), 0), None, "everything is there but the mark");
    assert_eq!(startable(&mut updated(&sample), 0), Some(APP));
}

#[test]
fn a_host_may_name_the_vector_table_but_only_within_the_image() {
    let mut port = updated(&application());
    assert_eq!(startable(&mut port, APP), Some(APP));
    for asked in [APP + 3000, APP + 2996, APP + 0x1000, APP + 0x2000 + 496, u32::MAX] {
        assert_eq!(startable(&mut port, asked), None, "{asked:#010x}");
    }
    assert_eq!(startable(&mut port, BASE), Some(APP), "the bootloader itself is no application");
}

#[test]
fn no_flipped_bit_in_the_records_starts_anything() {
    let port = updated(&application());
    for address in RECORDS..RECORDS + SLOTS * 64 {
        for bit in 0..8 {
            let mut port = port.clone();
            flip(&mut port, address, bit);
            // The incomplete mark counts for nothing once a valid one follows; the last four bytes of a record
            // mean nothing.
            let offset = address - RECORDS;
            let idle = offset < 64 || offset % 64 >= 60;
            assert_eq!(startable(&mut port, 0), idle.then_some(APP), "bit {bit} of {address:#010x}");
        }
    }
}

#[test]
fn no_flipped_bit_in_the_image_starts_it() {
    let sample = application();
    let port = updated(&sample);
    let mut rng = Rng::new(1);
    for n in 0..1000 {
        let region = sample.begin.regions()[rng.below(2) as usize];
        let (address, bit) = (region.address + rng.below(region.len.into()) as u32, rng.below(8) as u32);
        let mut port = port.clone();
        flip(&mut port, address, bit);
        assert_eq!(startable(&mut port, 0), None, "flip {n}: bit {bit} of {address:#010x}");
    }
}

#[test]
fn an_image_without_a_reset_vector_of_its_own_does_not_start() {
    for reset in [0xFFFF_FFFF, APP + 0x40, 0x2000_0001, BASE + 1] {
        let mut first = vec![0x5A; 256];
        first[4..8].copy_from_slice(&u32::to_le_bytes(reset));
        let sample = Sample::new(9, BeginFlags::empty(), &[(APP, first)]);
        assert_eq!(startable(&mut updated(&sample), 0), None, "{reset:#010x}");
    }
}

#[test]
fn an_update_that_was_only_begun_keeps_the_old_application_from_starting() {
    let sample = application();
    let mut solo = Solo::numbered(updated(&sample), 4);
    let mut other = sample.bytes.clone();
    other[1][0] ^= 1;
    let other =
        Sample::new(10, BeginFlags::empty(), &[(APP, other.remove(0)), (APP + 0x2000, other.remove(0))]);
    solo.begin(&other.begin);
    solo.manifest(&other);
    assert_eq!(startable(&mut solo.port().clone(), 0), Some(APP), "nothing has changed yet");
    solo.send(Control::Start { session: 10 });
    solo.wait(Span::from_millis(1));
    solo.rest();
    assert_eq!(startable(&mut solo.port().clone(), 0), None);
}

#[test]
fn only_a_host_that_looks_for_boards_makes_a_bootloader_stay() {
    let stays = |message: HostMessage<'_>| asks_to_stay(&message.to_frame());
    let discover = |min, current| Control::Discover { min, current, restart: true };
    assert!(stays(HostMessage::Control(None, discover(1, 1))));
    assert!(stays(HostMessage::Control(None, discover(255, 255))), "whatever versions it speaks");
    assert!(!stays(HostMessage::Control(None, Control::Census)));
    assert!(!stays(HostMessage::Stop));
    assert!(!asks_to_stay(&Frame::empty(Id::Standard(0x300))));
}

#[test]
fn a_controllers_filters_let_in_what_the_host_sends_and_nothing_that_nodes_send() {
    use panel_protocol::ident::Channel;
    for id in 0..0x800 {
        let host = match Channel::of(Id::Standard(id)) {
            Some(
                Channel::Stop
                | Channel::Silence
                | Channel::ControlAll
                | Channel::Control(_)
                | Channel::Data(_),
            ) => true,
            Some(_) => false,
            None => continue,
        };
        let passes = HOST_FILTERS.iter().any(|(filter, mask)| id & mask == filter & mask);
        assert_eq!(passes, host, "{id:#05x}");
    }
}
