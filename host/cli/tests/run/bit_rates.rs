//! Whole panels on buses slower than usual: questions and answers take their time there, and no board is blamed for it.

use super::harness::{Place, job};

#[test]
fn a_panel_of_64_boards_passes_on_a_slow_bus_without_a_frame_repeated() {
    let place = Place::new();
    let job = place.file("job.toml", job("bench-64k.bin", "start_application = false"));
    for rate in ["125k", "20k"] {
        let text = format!(
            "name = \"slow\"\nrows = 8\ncolumns = 8\n[[bus]]\nname = \"can\"\nlink = \"sim\"\nbit_rate = \"{rate}\"\n"
        );
        let panel = place.file("panel.toml", text);
        let run = place.run([job.as_os_str(), "--panel".as_ref(), panel.as_os_str()]);
        run.assert_all_pass();
        assert_eq!((run.boards().len(), run.json["frames_repeated"].as_u64()), (64, Some(0)), "{rate}");
        // What 64 boards cost on a fast bus, too: their answers, and no question asked in vain.
        assert!(run.json["ratio"].as_f64().is_some_and(|ratio| ratio < 1.3), "{rate}: {}", run.json["ratio"]);
    }
}
