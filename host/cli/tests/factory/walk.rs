//! The walks in docs/engineer-guide.md, executed as they stand there.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::owner::firmware;

/// Executes the walk of this name in an empty directory: that, and what it printed.
fn walk(name: &str) -> (TempDir, String) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_to_string(repository.join("docs/engineer-guide.md")).unwrap();
    let (_, walk) = guide.split_once(&format!("<!-- {name} -->")).unwrap();
    let (walk, _) = walk.split_once(&format!("<!-- /{name} -->")).unwrap();
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
        .env("AGENTS", repository.join("panel-backplane/agents"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    (dir, stdout.into_owned())
}

#[test]
fn the_walk_through_a_work_order_does_what_it_says() {
    let (dir, stdout) = walk("walk");
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

#[test]
fn the_walk_through_a_panel_of_blank_boards_ends_with_pass_on_every_board_by_either_way() {
    let (dir, stdout) = walk("walk blank");
    for name in ["can.json", "uart.json"] {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&result["passed"], &result["failed"]), (&8.into(), &0.into()), "{name}: {text}");
        let steps = result["boards"].as_array().unwrap();
        assert!(steps.iter().all(|board| board["result"] == "pass"), "{name}: {text}");
    }
    assert!(stdout.contains("first firmware") && stdout.contains("rom-can+agent"), "the plan: {stdout}");
    let passes = stdout.lines().filter(|line| line.contains(",pass,")).count();
    assert_eq!(passes, 16, "both runs are on record: {stdout}");
}
