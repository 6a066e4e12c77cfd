//! Identities in one-time programmable memory: written once, kept for ever, and never where a secret would lie open.

use panel_ledger::region;

use crate::owner::{Owner, Said, image};
use crate::whole::boards;

/// Flash and one-time programmable memory of F405 in a board's file (tests/simulator's format).
const FLASH: usize = 4096;
const OTP: usize = FLASH + 0x10_0000;

/// A station with a release whose identities lie in the one-time programmable memory.
fn line(identity: &str) -> Owner {
    let owner = Owner::new();
    owner.station();
    let lines = format!(
        "identity = {{ serial = true, {identity} region = {{ address = 0x1FFF7800, length = 512 }} }}"
    );
    let memory = "[[memory]]\nkind = \"otp\"\naddress = 0x1FFF7800\nlength = 512\n";
    let app = image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    owner.place_release("fw", &lines, &format!("{memory}{app}"));
    owner.place_order(
        "order",
        "policy = { lock = \"rdp1\", strikes = 9, retests = { contact = 9, station = 9, board = 9 } }",
    );
    owner
}

/// Changes a board's file between two runs.
fn change(owner: &Owner, slot: u16, change: impl Fn(&mut [u8])) {
    let path = owner.chip_file(slot);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

fn otp(owner: &Owner, slot: u16) -> Vec<u8> {
    owner.chip(slot)[OTP..].to_vec()
}

/// What a rework station leaves of a board: unlocked and erased, but for its bootloader and what no erase reaches.
fn erase(bytes: &mut [u8]) {
    bytes[14] = 0;
    bytes[FLASH + 0x8000..OTP].fill(0xFF);
}

#[test]
fn an_identity_in_otp_outlasts_the_flash_and_is_known_again() {
    let owner = line("");
    let serial_of = |said: &Said, at: usize| boards(said)[at]["serial"].as_str().unwrap().to_owned();
    let first = owner.run("WO-1", &[]).good();
    let kept: Vec<_> = (1..=4).map(|slot| otp(&owner, slot)).collect();
    for (at, bytes) in kept.iter().enumerate() {
        assert_eq!(bytes.len(), 512);
        assert_eq!(region::decode(bytes).unwrap().serial(), serial_of(&first, at));
    }
    change(&owner, 1, erase);
    change(&owner, 2, |bytes| {
        erase(bytes);
        bytes[OTP..OTP + 8].fill(0); // somebody else's, and no erase takes it away
    });
    let second = owner.run("WO-1", &[]);
    assert_eq!(second.exit, Some(1), "{second:?}");
    let again = boards(&second);
    assert_eq!((again[0]["result"].as_str(), serial_of(&second, 0)), (Some("pass"), serial_of(&first, 0)));
    assert_eq!(otp(&owner, 1), kept[0], "it was there already");
    let text = again[1].to_string();
    assert!(text.contains("0x1fff7800") && text.contains("NotBlank"), "{text}");
    assert!(again[2..].iter().all(|board| board["result"] == "pass"), "{second:?}");
    assert_eq!(owner.balance("WO-1"), [10, 3, 1, 0, 0, 6]);
}

#[test]
fn secrets_and_ways_that_otp_is_not_fit_for_are_refused_before_the_panel() {
    let owner = line("key = \"p256\",");
    owner.run("WO-1", &[]).refused("E", "no readout protection hides a key in one-time programmable memory");

    let owner = line("");
    owner.file(
        "panel.toml",
        "name = \"blank\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\nways = [\"rom-uart\"]\nport = \"sim\"\n\
         [[bus]]\nlink = \"sim\"\n[fixture]\npower = \"sim:p{slot}\"\nnrst = \"sim:r{slot}\"\nboot0 = \"sim:b\"\n",
    );
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &format!("{station}supply_mv = 3300\n"));
    owner.run("WO-1", &[]).refused("E515", "does not write one-time programmable memory");
    assert!(!owner.path("boards").exists());
}

#[test]
fn a_secret_blob_is_not_written_where_no_protection_hides_it() {
    let owner = line("blobs = [\"psk\"],");
    owner.call(&["release", "key", "station", "line/station.key"]).good();
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &format!("{station}secret = \"station.key\"\n"));
    let import = |list: &str| {
        owner.file("list.csv", list);
        let args = ["--product", "widget", "--station-file", "line/station.toml", "--records", "records"];
        owner.call(&[&["ledger", "import", "list.csv"][..], &args].concat()).good();
    };
    import("secret:psk\n00112233445566778899aabbccddeeff\n");
    owner
        .run("WO-1", &[])
        .refused("E608", "blob \"psk\" is a secret, and the identity region is in one-time");
}
