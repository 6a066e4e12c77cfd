//! `panelflash release`: what is packed, signed, verified and refused, and with which words.

use crate::owner::{Owner, application, firmware, image};

#[test]
fn two_of_three_signatures_make_a_release_good_and_one_does_not() {
    let owner = Owner::new();
    let packed = owner.release("fw", "", &application()).good().json();
    assert_eq!(
        (packed["kind"].as_str(), packed["images"][0]["bytes"].as_u64()),
        (Some("release"), Some(262_144))
    );
    owner.verify("fw.pfr", &[]).refused("E601 release-unsigned", "2");
    owner.sign("fw.pfr", &["alice"]);
    owner.verify("fw.pfr", &[]).refused("E601 release-unsigned", "1 of 2");
    owner.sign("fw.pfr", &["carol"]);
    let good = owner.verify("fw.pfr", &[]).good().json();
    assert_eq!(good["manifest_sha256"], packed["manifest_sha256"]);
    assert_eq!(good["signers"].as_array().unwrap().len(), 2);
    assert_eq!((&good["may_ship"], &good["permits_irreversible"]), (&true.into(), &false.into()));
}

#[test]
fn a_key_of_another_role_and_a_strangers_key_do_not_count() {
    let owner = Owner::new();
    owner.release("fw", "", &application()).good();
    owner.key("mallory");
    owner.sign("fw.pfr", &["mallory"]);
    owner.verify("fw.pfr", &[]).refused("E602 release-signature", "");
    owner.sign("fw.pfr", &["alice", "sales"]);
    owner.verify("fw.pfr", &[]).refused("E601 release-unsigned", "1 of 2");
}

#[test]
fn a_changed_byte_is_found_and_said_where_it_is() {
    let owner = Owner::new();
    owner.release("fw", "", &application()).good();
    owner.sign("fw.pfr", &["alice", "bob"]);
    let good = std::fs::read(owner.path("fw.pfr")).unwrap();
    let at_text = good.windows(5).position(|window| window == b"1.4.2").unwrap();
    for (at, code, words) in [
        (0, "E606 release-damaged", ""),
        (8, "E610 release-newer", ""),
        (at_text, "E602 release-signature", "document"),
        (good.len() - 1000, "E602 release-signature", "app"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(owner.path("bad.pfr"), bytes).unwrap();
        owner.verify("bad.pfr", &[]).refused(code, words);
        let signed = owner.call(&["release", "sign", "bad.pfr", "--key", "carol.pem"]);
        assert_eq!(signed.exit, Some(2), "nobody signs a changed file: {signed:?}");
    }
}

#[test]
fn expired_debug_and_downgraded_releases_are_refused() {
    let owner = Owner::new();
    for (name, lines) in [
        ("old", "expires = \"2020-01-01T00:00:00Z\""),
        ("debug", "build = \"debug\""),
        ("new", "counter = 18"),
    ] {
        owner.release(name, lines, &application()).good();
        owner.sign(&format!("{name}.pfr"), &["alice", "bob"]);
    }
    owner.verify("old.pfr", &[]).refused("E603 release-expired", "2020-01-01");
    owner.verify("debug.pfr", &[]).refused("E607 release-debug", "");
    assert_eq!(owner.verify("debug.pfr", &["--debug-builds"]).good().json()["may_ship"], false);
    owner.verify("new.pfr", &["--floor", "18"]).good();
    owner.verify("new.pfr", &["--floor", "19"]).refused("E605 release-downgrade", "19");
}

#[test]
fn images_that_do_not_fit_the_chip_are_not_packed() {
    let owner = Owner::new();
    let elsewhere = image("application", "app", "demo-f405-256k.bin", Some(0x0804_0000));
    owner.release("fw", "", &elsewhere).refused("E508 image-wrong-chip", "outside the image");
    let beyond = image("data", "table", "demo-f405-256k.bin", Some(0x080F_0000));
    owner.release("fw", "", &beyond).refused("E609 release-unsafe", "flash");
    let twice = application() + &image("data", "table", "bench-64k.bin", Some(0x0803_0000));
    owner.release("fw", "", &twice).refused("E609 release-unsafe", "overlap");
    let unaddressed = image("data", "table", "bench-64k.bin", None);
    owner.release("fw", "", &unaddressed).refused("E504 image-file", "bench-64k.bin");
    assert!(!owner.path("fw.pfr").exists(), "nothing is left half-made");
}

#[test]
fn debug_information_of_an_elf_file_is_left_out_and_reported() {
    let owner = Owner::new();
    let elf = std::fs::read(firmware("blink-headers-loaded.elf")).unwrap();
    let lines = "targets = [\"STM32G431\"]";
    let said = owner.release("fw", lines, &image("data", "blink", "blink-headers-loaded.elf", None)).good();
    let packed = &said.json()["images"][0];
    assert_eq!(packed["bytes"], 182);
    assert!(packed["debug_bytes_left_out"].is_u64(), "{packed}");
    let package = std::fs::read(owner.path("fw.pfr")).unwrap();
    assert!(package.len() < elf.len() / 4, "{} of {}", package.len(), elf.len());
}

#[test]
fn a_mistake_in_a_description_is_told_with_its_line() {
    let owner = Owner::new();
    owner.release("fw", "colour = \"red\"", &application()).refused("E517 description", "colour");
    owner.release("fw", "targets = [\"STM32X999\"]", &application()).refused("E517", "STM32X999");
    owner.file("none.toml", "schema = 1\n");
    owner.pack("none.toml", "x").refused("E517", "`quantity`");
}

#[test]
fn an_encrypted_release_opens_with_the_stations_key_only() {
    let owner = Owner::new();
    owner.release("fw", "", &application()).good();
    owner.sign("fw.pfr", &["alice", "bob"]);
    let station = |name: &str| {
        let said = owner.call(&["release", "key", "station", name, "--json"]).good();
        said.json()["public"].as_str().unwrap().to_owned()
    };
    let (ours, _) = (station("ours.key"), station("other.key"));
    owner.call(&["release", "encrypt", "fw.pfr", "--to", &ours, "--output", "sealed.pfr"]).good();
    let sealed = std::fs::read(owner.path("sealed.pfr")).unwrap();
    assert!(!sealed.windows(9).any(|window| window == b"widget-fw"));
    owner.verify("sealed.pfr", &["--secret", "ours.key"]).good();
    owner.verify("sealed.pfr", &["--secret", "other.key"]).refused("E612 release-encrypted", "");
    owner.verify("sealed.pfr", &[]).refused("E612 release-encrypted", "no key of this station");
    owner.call(&["release", "sign", "sealed.pfr", "--key", "carol.pem"]).refused("E612", "sign first");
}

#[test]
fn roots_follow_one_another_and_revoke() {
    let owner = Owner::new();
    owner.release("fw", "", &application()).good();
    owner.sign("fw.pfr", &["alice", "bob"]);
    let hash = owner.verify("fw.pfr", &[]).good().json()["manifest_sha256"].as_str().unwrap().to_owned();
    let first = std::fs::read_to_string(owner.path("root.toml")).unwrap();
    let second = first
        .replace("counter = 1", "counter = 2")
        .replace("[roles.root]", &format!("revoked_releases = [\"{hash}\"]\n[roles.root]"));
    owner.file("root2.toml", &second);
    owner.pack("root2.toml", "root2.pfk").good();
    owner.sign("root2.pfk", &["root-a"]);
    owner.verify("root2.pfk", &[]).refused("E611 release-root", "1 of 2");
    owner.sign("root2.pfk", &["root-b"]);
    assert_eq!(owner.verify("root2.pfk", &[]).good().json()["counter"], 2);
    let said = owner.call(&["release", "verify", "fw.pfr", "--root", "root2.pfk"]);
    said.refused("E604 release-revoked", &hash);
}

#[test]
fn a_secret_key_is_never_printed_or_overwritten_and_only_its_owner_may_read_it() {
    let owner = Owner::new();
    let again = owner.call(&["release", "key", "new", "alice.pem"]);
    again.refused("E516 output-file", "alice.pem");
    let pem = std::fs::read_to_string(owner.path("alice.pem")).unwrap();
    let shown = owner.call(&["release", "key", "show", "alice.pem"]).good();
    let secret = pem.lines().nth(1).unwrap();
    assert!(!shown.stdout.contains(secret) && !shown.stderr.contains(secret));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(owner.path("alice.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    owner.file("junk.pem", "junk");
    owner.call(&["release", "sign", "root.pfk", "--key", "junk.pem"]).refused("E519 key-file", "junk.pem");
}

#[test]
fn show_says_what_is_in_a_file_and_that_it_was_not_verified() {
    let owner = Owner::new();
    owner.release("fw", "notes = \"first series\"", &application()).good();
    let shown = owner.call(&["release", "show", "fw.pfr"]).good().stdout;
    for words in ["widget-fw 1.4.2", "not signed", "first series", "0x08020000", "release verify"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let json = owner.call(&["release", "show", "fw.pfr", "--json"]).good().json();
    assert_eq!((&json["verified"], &json["manifest"]["counter"]), (&false.into(), &17.into()));
    assert_eq!(owner.call(&["release", "show", "root.pfk", "--json"]).good().json()["root"]["counter"], 1);
}
