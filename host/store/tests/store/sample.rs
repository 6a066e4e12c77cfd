//! One made-up run, for all tests and examples.

use panel_store::{Image, Release, RunStart, Shipment, Simulation};

/// 2025-11-21 02:34:56 UTC.
pub(crate) const START_US: i64 = 1_763_692_496_000_000;

/// A run of a developer job on simulated boards; a PASS needs `verify` and `lock-proof`.
pub(crate) fn run_start(panel: &str) -> RunStart {
    RunStart {
        utc_us: START_US,
        panel: panel.into(),
        product: "pump".into(),
        job: "pump-job".into(),
        job_sha256: [0x0b; 32].into(),
        release: Release {
            name: "pump-fw".into(),
            version: "1.2.3".into(),
            sha256: [0xab; 32].into(),
            images: vec![Image {
                name: "application".into(),
                address: 0x0800_0000,
                length: 262_144,
                crc32: 0xdead_beef,
                sha256: [0xcd; 32].into(),
            }],
        },
        order: None,
        station: "station-1".into(),
        operator: "Anna, B".into(),
        fixture: "fix-7".into(),
        program_version: "0.1.0".into(),
        simulation: Some(Simulation { seed: u64::MAX, virtual_time: true }),
        shipment: Shipment::Forbidden,
        required_steps: vec!["lock-proof".into()],
        retests: None,
    }
}
