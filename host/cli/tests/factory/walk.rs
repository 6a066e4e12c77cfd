//! The walk through a work order in docs/engineer-guide.md, executed as it stands there.

use std::path::Path;
use std::process::Command;

use crate::owner::firmware;

#[test]
fn the_walk_of_the_engineer_guide_does_what_it_says() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engineer-guide.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, walk) = guide.split_once("<!-- walk -->").unwrap();
    let (walk, _) = walk.split_once("<!-- /walk -->").unwrap();
    let script: String =
        walk.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_panelflash"));
    #[expect(clippy::disallowed_methods, reason = "the shell of the walk needs its tools")]
    let path = std::env::var("PATH").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-euc", &script])
        .current_dir(dir.path())
        .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
        .env("FIRMWARE", firmware("bench-64k.bin"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let balance = "10 ordered = 4 passed + 0 failed + 0 scrapped + 0 in doubt + 6 remaining";
    for words in
        [balance, "order WO-2026-0117, 10 x widget", "the ledger is as it was written", "good: release"]
    {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let csv = std::fs::read_to_string(dir.path().join("units.csv")).unwrap();
    assert_eq!(csv.lines().filter(|line| line.contains(",confirmed,")).count(), 4, "{csv}");
    assert!(dir.path().join("unit.pem").exists());
}
