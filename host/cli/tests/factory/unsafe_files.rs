//! Files that their signers should never have made, or that are made to fill memory and folders: signed by the right
//! keys, and refused through the binary all the same. The container is written here from its description
//! (`panel_release::envelope`), because the program itself packs and signs nothing of the kind.

use panel_release::SecretKey;

use crate::owner::{Owner, image};

/// A container of a release: this document, signed by alice and bob, and this payload.
fn signed(owner: &Owner, document: &str, payload: &[u8]) -> Vec<u8> {
    let message = [b"panelflash signed document 1\0release\0", document.as_bytes()].concat();
    let mut blocks: Vec<Vec<u8>> = ["alice.pem", "bob.pem"]
        .iter()
        .map(|name| {
            let key = SecretKey::from_pem(&std::fs::read_to_string(owner.path(name)).unwrap()).unwrap();
            [&key.public().as_bytes()[..], &key.sign(&message)].concat()
        })
        .collect();
    blocks.sort();
    let lengths = [
        &[0x89, b'P', b'F', b'R', 0x0D, 0x0A, 0x1A, 0x0A, 1, 0, 2, 0][..],
        &(document.len() as u32).to_le_bytes(),
        &(payload.len() as u64).to_le_bytes(),
    ];
    [&lengths.concat(), document.as_bytes(), &blocks.concat(), payload].concat()
}

/// The document and the payload of a file of two signatures.
fn parts(bytes: &[u8]) -> (String, Vec<u8>) {
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let document = String::from_utf8(bytes[24..24 + length].to_vec()).unwrap();
    (document, bytes[24 + length + 2 * 96..].to_vec())
}

#[test]
fn what_leads_outside_or_grows_without_end_is_refused_though_it_is_signed() {
    let owner = Owner::new();
    owner.station();
    let app = image("application", "app", "bench-64k.bin", Some(0x0802_0000));
    owner.place_release("fw", "identity = { serial = true }", &app);
    owner.place_order("order", "");
    let path = owner.path("line/releases/fw.pfr");
    let good = std::fs::read(&path).unwrap();
    let (document, payload) = parts(&good);
    assert_eq!(signed(&owner, &document, &payload), good, "the container is understood as it is described");

    let with = |from: &str, to: &str| {
        assert!(document.contains(from), "{from}: {document}");
        signed(&owner, &document.replace(from, to), &payload)
    };
    let header = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let long = format!("\"{}\"", "n".repeat(300_000));
    let cases = [
        (with("\"name\":\"app\"", "\"name\":\"../../../etc/cron.d/x\""), "E609", "is not a plain label"),
        (with("\"name\":\"app\"", "\"name\":\"C:\\\\boot\""), "E609", "is not a plain label"),
        (with("\"name\":\"app\"", "\"name\":\"/dev/sda\""), "E609", "is not a plain label"),
        (with("\"version\":\"1.4.2\"", "\"version\":\"../1.4.2\""), "E609", "is not a plain label"),
        (with("\"length\":65536", "\"length\":65535"), "E606", "own manifest says 65535"),
        (with("\"length\":65536", "\"length\":4294967295"), "E609", "leaves the 32-bit address space"),
        (
            with("\"source_revision\":\"3f1c9d2\"", &format!("\"source_revision\":{long}")),
            "E609",
            "the document has",
        ),
        (header(23, 0x7F), "E609", "the payload has"),
        (header(11, 0xFF), "E609", "the signature list has"),
        (vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3], "E606", "not a release file"),
        (vec![0x28, 0xB5, 0x2F, 0xFD], "E606", "not a release file"),
    ];
    for (bytes, code, words) in cases {
        std::fs::write(&path, &bytes).unwrap();
        owner.verify("line/releases/fw.pfr", &[]).refused(code, words);
        let said = owner.run("WO-1", &[]);
        said.refused("", words);
        assert!(!owner.path("records/ledger.db").exists(), "{words}: nothing was begun");
    }
    std::fs::File::create(&path).unwrap().set_len(1 << 36).unwrap();
    owner.verify("line/releases/fw.pfr", &[]).refused("E609", "greater than");
    owner.run("WO-1", &[]).refused("E609", "greater than");
    let left: Vec<_> =
        std::fs::read_dir(owner.path("line")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(
        left.len(),
        4,
        "nothing was unpacked beside station.toml, root.pfk, orders, releases: {left:?}"
    );
}
