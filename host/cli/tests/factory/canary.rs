//! What must never lie on a disk: keys of boards whatever the way to them, and the images of an encrypted release.

use crate::owner::{firmware, image};
use crate::whole::{assert_in_chips_only, line};

#[test]
fn keys_of_blank_boards_are_in_their_chips_only_whatever_the_way() {
    for way in ["rom-uart", "rom-can", "rom-uart+agent"] {
        let owner = line("");
        let panel = format!(
            "name = \"blank\"\nrows = 2\ncolumns = 2\nbinding = \"straps\"\nways = [\"{way}\"]\nport = \"sim\"\n\
             [[bus]]\nlink = \"sim\"\n[fixture]\npower = \"sim:p{{slot}}\"\nnrst = \"sim:r{{slot}}\"\nboot0 = \"sim:b\"\n"
        );
        owner.file("panel.toml", &panel);
        owner.file("line/agent.bin", &"an agent of some bytes, ".repeat(80));
        let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
        let agent = "supply_mv = 3300\nagent = { file = \"agent.bin\", address = 0x20002000 }\n";
        owner.file("line/station.toml", &format!("{agent}{station}"));
        // RAM agents keep their records at the end of the flash.
        let identity = "identity = { serial = true, eui48 = 2, key = \"p256\", certificate = true, \
                        region = { address = 0x080C0000, length = 1024 } }";
        owner.place_release("fw", identity, &image("application", "app", "bench-64k.bin", Some(0x0802_0000)));
        let said = owner.run("WO-1", &["--event-log", "events.jsonl"]).good();
        assert_eq!(owner.balance("WO-1"), [10, 4, 0, 0, 0, 6], "{way}");
        let key = |slot: u16| {
            let chip = owner.chip(slot);
            // The place of the key in the region: docs/identity_region.h.
            let key = chip[4096 + 0xC_0000 + 208..][..32].to_vec();
            assert!(chip[14] == 1 && key != [0xFF; 32], "{way}: slot {slot} is locked and has a key");
            key
        };
        assert_in_chips_only(&owner, &said, &[1, 2, 3, 4].map(key));
    }
}

#[test]
fn the_images_of_an_encrypted_release_are_in_chips_only() {
    let owner = line("");
    let key = owner.call(&["release", "key", "station", "line/station.key", "--json"]).good().json();
    let station = std::fs::read_to_string(owner.path("line/station.toml")).unwrap();
    owner.file("line/station.toml", &format!("secret = \"station.key\"\n{station}"));
    let sealed = ["--to", key["public"].as_str().unwrap(), "--output", "line/releases/sealed.pfr"];
    owner.call(&[&["release", "encrypt", "line/releases/fw.pfr"][..], &sealed].concat()).good();
    std::fs::remove_file(owner.path("line/releases/fw.pfr")).unwrap();
    let said = owner.run("WO-1", &["--event-log", "events.jsonl"]).good();
    let image = std::fs::read(firmware("bench-64k.bin")).unwrap();
    let many_values = |piece: &[u8]| piece.iter().collect::<std::collections::BTreeSet<_>>().len() > 20;
    let mut pieces = image.chunks_exact(32).enumerate().skip(1024);
    let (at, piece) = pieces.find(|(_, piece)| many_values(piece)).unwrap();
    let chip = owner.chip(1);
    assert_eq!(&chip[4096 + 0x2_0000 + 32 * at..][..32], piece, "the chip has it");
    assert_in_chips_only(&owner, &said, &[piece.to_vec()]);
}
