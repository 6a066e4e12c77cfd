//! Work orders and the way from a scan to exactly one release.

mod common;

use std::collections::BTreeMap;

use common::{
    held, manifest, now, order, order_file, package, root_document, root_file, signed, time, trusted,
    unsigned_package,
};
use panel_codes::Code;
use panel_release::{
    Candidate, Invalid, LockLevel, Manifest, NoSelection, Part, Place, Reason, Refusal, ReleaseChoice,
    RoleName, RootDocument, Selection, Unreadable, VerifiedOrder, WorkOrder, manifest::BuildKind,
    select_release,
};

fn open(bytes: &[u8]) -> Result<VerifiedOrder, Refusal> {
    VerifiedOrder::open(bytes, &trusted(), now())
}

#[test]
fn a_good_order_is_used_on_its_stations_in_its_window_for_its_product() {
    let verified = open(&order_file(&order())).unwrap();
    let used = |station, at| verified.check_use(&trusted(), station, time(at));
    assert_eq!(used("line1-b", "2026-05-01T00:00:00Z"), Ok(()));
    assert!(matches!(used("line1-b", "2026-04-30T23:59:59Z"), Err(Refusal::NotYetValid { .. })));
    assert!(matches!(used("line1-b", "2026-07-01T00:00:00Z"), Err(Refusal::Expired { .. })));
    assert!(matches!(used("line2", "2026-06-01T00:00:00Z"), Err(Refusal::OtherStation { .. })));
    assert_eq!(verified.check_product("sensor-head"), Ok(()));
    assert!(matches!(verified.check_product("other"), Err(Refusal::WrongProduct { .. })));
}

#[test]
fn wrongly_signed_orders_are_refused_with_the_reason() {
    let unsigned = order().to_unsigned().unwrap();
    assert_eq!(open(&unsigned), Err(Refusal::Unsigned { role: RoleName::Order, needed: 1 }));
    assert!(matches!(open(&signed(&unsigned, &[11, 12])), Err(Refusal::WrongKey { .. })));
    assert!(matches!(open(&package()), Err(Refusal::OtherKind { .. })));
    assert!(matches!(open(b"order"), Err(Refusal::NotOurs { .. })));
    let newer = WorkOrder { root: 2, ..order() };
    assert_eq!(open(&order_file(&newer)), Err(Refusal::RootOutdated { needed: 2, have: 1 }));
}

#[test]
fn every_single_byte_of_an_order_is_guarded() {
    let good = order_file(&order());
    for offset in 0..good.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[offset] ^= change;
            assert!(open(&bytes).is_err(), "byte {offset} xor {change:#04x}");
        }
    }
    let mut bytes = good.clone();
    let at = good.windows(3).position(|window| window == b"100").unwrap();
    bytes[at] = b'9';
    assert_eq!(open(&bytes), Err(Refusal::Altered { part: Part::DocumentOrSignature }));
}

/// The words for a change of one byte, by the part of the file that it is in: magic, kind, format, lengths, document,
/// signatures, payload. A changed key may also put the signatures out of order.
fn words_for(bytes: &[u8], at: usize) -> &'static [&'static str] {
    let field = |range: std::ops::Range<usize>| {
        bytes[range].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    };
    let signatures_at = 24 + field(12..16);
    let payload_at = signatures_at + 96 * field(10..12);
    match at {
        3 => &["not a ", "this is a "],
        0..8 => &["not a "],
        8..10 => &["container format "],
        10..24 => &["its own header says", "more than the limit of"],
        _ if at < signatures_at => &["altered: the document"],
        _ if at < payload_at => &["altered: signature ", "or its only signature", "is out of order"],
        _ => &["altered: image "],
    }
}

/// Every byte, changed in three ways, in the same selection that a run makes.
fn every_change(good: &[u8], select: impl Fn(&[u8]) -> Result<Selection, NoSelection>) {
    let offset_dependent = |at: usize| 1 + (at * 7 + 3) as u8 % 255;
    for at in 0..good.len() {
        for change in [0x01, 0x80, offset_dependent(at)] {
            let mut bytes = good.to_vec();
            bytes[at] ^= change;
            let text = select(&bytes).expect_err("accepted").to_string();
            let words = words_for(good, at);
            assert!(words.iter().any(|words| text.contains(words)), "byte {at} xor {change:#04x}: {text}");
        }
    }
}

#[test]
fn whatever_byte_of_an_order_is_changed_a_scan_selects_nothing_and_says_which_part_it_is() {
    let releases = [candidate("r.pfr", &package())];
    let good = order_file(&order());
    select("WO-2026-0117", &[candidate("o.pfo", &good)], &releases).unwrap();
    every_change(&good, |bytes| select("WO-2026-0117", &[candidate("o.pfo", bytes)], &releases));
}

#[test]
fn whatever_byte_of_a_release_is_changed_a_scan_selects_nothing_and_says_which_part_it_is() {
    let orders = [candidate("o.pfo", &order_file(&order()))];
    every_change(&package(), |bytes| select("WO-2026-0117", &orders, &[candidate("r.pfr", bytes)]));
}

#[test]
fn the_code_is_that_of_the_file_which_says_it_is_the_wanted_one() {
    let expired = Manifest { expires: time("2026-05-31T00:00:00Z"), ..manifest() };
    let old = Manifest { version: "1.4.1".to_owned(), ..expired.clone() };
    let unreadable = Candidate {
        label: "sealed.pfr".to_owned(),
        bytes: Err(Unreadable { code: Code::ReleaseEncrypted, text: "for others".to_owned() }),
    };
    let orders = [candidate("o", &order_file(&order()))];
    let releases =
        [candidate("old", &package_of(old.clone())), candidate("new", &package_of(expired)), unreadable];
    let code = |releases: &[Candidate]| select("WO-2026-0117", &orders, releases).unwrap_err().code();
    assert_eq!(code(&releases), Code::ReleaseExpired);
    assert_eq!(code(&releases[2..]), Code::ReleaseEncrypted, "the only file there is");
    assert_eq!(code(&[releases[0].clone(), releases[2].clone()]), Code::OrderRelease, "none says so");
    let text = select("WO-2026-0117", &orders, &releases).unwrap_err().to_string();
    let reasons = ["old: expired", "new: expired", "sealed.pfr: E612 release-encrypted: for others"];
    reasons.iter().for_each(|words| assert!(text.contains(words), "{words}: {text}"));
}

#[test]
fn orders_that_contradict_themselves_are_not_made() {
    let made = |order: WorkOrder| match order.to_unsigned() {
        Err(Refusal::Invalid(invalid)) => invalid,
        other => panic!("{other:?}"),
    };
    assert!(matches!(made(WorkOrder { quantity: 0, ..order() }), Invalid::Number { field: "quantity", .. }));
    assert!(matches!(made(WorkOrder { stations: Vec::new(), ..order() }), Invalid::Count { .. }));
    assert!(matches!(made(WorkOrder { not_after: order().not_before, ..order() }), Invalid::Window { .. }));
    assert!(matches!(made(WorkOrder { id: "../x".to_owned(), ..order() }), Invalid::Label { .. }));
}

fn candidate(label: &str, bytes: &[u8]) -> Candidate {
    Candidate { label: label.to_owned(), bytes: Ok(held(bytes)) }
}

fn select(scanned: &str, orders: &[Candidate], releases: &[Candidate]) -> Result<Selection, NoSelection> {
    let (root, floors) = (trusted(), BTreeMap::new());
    let place = Place { root: &root, station: "line1-a", now: now(), floors: &floors };
    select_release(scanned, orders, releases, &place)
}

fn package_of(manifest: Manifest) -> Vec<u8> {
    signed(&unsigned_package(manifest, 128), &[11, 12])
}

#[test]
fn a_scan_selects_the_one_release_among_many() {
    let orders = [
        candidate("other.pfo", &order_file(&WorkOrder { id: "WO-1".to_owned(), ..order() })),
        candidate("ours.pfo", &order_file(&order())),
        candidate("copy of ours.pfo", &order_file(&order())),
    ];
    let old = package_of(Manifest { version: "1.4.1".to_owned(), counter: 16, ..manifest() });
    let releases = [candidate("old.pfr", &old), candidate("new.pfr", &package())];
    let Selection { order: taken, release } = select("WO-2026-0117", &orders, &releases).unwrap();
    assert_eq!(taken.order().id, "WO-2026-0117");
    assert_eq!(release.manifest().version, "1.4.2");

    // By hash instead of by version.
    let exact = WorkOrder { release: ReleaseChoice::Manifest(release.manifest_sha256()), ..order() };
    let by_hash = select("WO-2026-0117", &[candidate("x", &order_file(&exact))], &releases).unwrap();
    assert_eq!(by_hash.release.manifest_sha256(), release.manifest_sha256());
}

#[test]
fn when_nothing_fits_every_candidate_has_its_own_reason() {
    let mut damaged = package();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let releases = [
        candidate("old.pfr", &package_of(Manifest { version: "1.4.1".to_owned(), ..manifest() })),
        candidate("debug.pfr", &package_of(Manifest { build: BuildKind::Debug, ..manifest() })),
        candidate("half.pfr", &signed(&unsigned_package(manifest(), 128), &[12])),
        candidate("damaged.pfr", &damaged),
        candidate("alien.pfr", &package_of(Manifest { product: "other".to_owned(), ..manifest() })),
    ];
    let error = select("WO-2026-0117", &[candidate("o", &order_file(&order()))], &releases).unwrap_err();
    let NoSelection::Release { order, rejected } = &error else { panic!("{error:?}") };
    assert_eq!(order, "WO-2026-0117");
    let reason = |label: &str| &rejected.iter().find(|rejected| rejected.label == label).unwrap().reason;
    assert!(matches!(reason("old.pfr"), Reason::OtherRelease { .. }));
    assert_eq!(*reason("debug.pfr"), Reason::Refused(Refusal::DebugBuild));
    assert!(matches!(reason("half.pfr"), Reason::Refused(Refusal::HalfSigned { .. })));
    assert!(matches!(reason("damaged.pfr"), Reason::Refused(Refusal::Altered { .. })));
    assert!(matches!(reason("alien.pfr"), Reason::Refused(Refusal::WrongProduct { .. })));
    assert!(error.to_string().contains("half.pfr: half-signed: 1 of 2 signatures of role release"));
}

#[test]
fn two_different_fitting_files_are_refused_and_never_chosen_between() {
    let other = package_of(Manifest { notes: "built again".to_owned(), ..manifest() });
    let releases = [candidate("a.pfr", &package()), candidate("b.pfr", &other)];
    let error = select("WO-2026-0117", &[candidate("o", &order_file(&order()))], &releases).unwrap_err();
    let NoSelection::Release { rejected, .. } = error else { panic!("{error:?}") };
    assert_eq!(rejected.len(), 2);
    assert!(rejected.iter().all(|rejected| matches!(rejected.reason, Reason::Ambiguous { .. })));

    let raised = WorkOrder { quantity: 200, ..order() };
    let orders = [candidate("a", &order_file(&order())), candidate("b", &order_file(&raised))];
    let error = select("WO-2026-0117", &orders, &releases).unwrap_err();
    assert!(matches!(error, NoSelection::Order { .. }));
}

#[test]
fn what_cannot_be_undone_needs_a_release_that_was_signed_for_it() {
    let mut final_lock = order();
    final_lock.policy.lock = LockLevel::Rdp2;
    let orders = [candidate("o", &order_file(&final_lock))];
    let error = select("WO-2026-0117", &orders, &[candidate("r", &package())]).unwrap_err();
    let NoSelection::Release { rejected, .. } = error else { panic!("{error:?}") };
    assert_eq!(rejected[0].reason, Reason::Refused(Refusal::NoConsent));
    let consented = signed(&unsigned_package(manifest(), 128), &[11, 12, 31]);
    assert!(select("WO-2026-0117", &orders, &[candidate("r", &consented)]).is_ok());
}

#[test]
fn a_withdrawn_or_unknown_order_selects_nothing() {
    let error = select("WO-9", &[candidate("o", &order_file(&order()))], &[]).unwrap_err();
    let NoSelection::Order { rejected, .. } = error else { panic!("{error:?}") };
    assert!(matches!(rejected[0].reason, Reason::OtherOrder { .. }));

    let mut next = RootDocument { counter: 2, ..root_document() };
    next.revoked_orders.insert("WO-2026-0117".to_owned());
    let root = trusted().advance(&root_file(&next, &[1, 3])).unwrap();
    let place = Place { root: &root, station: "line1-a", now: now(), floors: &BTreeMap::new() };
    let error =
        select_release("WO-2026-0117", &[candidate("o", &order_file(&order()))], &[], &place).unwrap_err();
    let NoSelection::Order { rejected, .. } = error else { panic!("{error:?}") };
    assert!(matches!(rejected[0].reason, Reason::Refused(Refusal::Revoked { root: 2, .. })));
}
