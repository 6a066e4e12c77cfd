//! A real writer process, killed with SIGKILL at seeded moments, again and again over the same records.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::check;
use crate::script::Rng;

const KILLS: u64 = 50;

#[test]
fn killed_at_fifty_moments_a_writer_loses_nothing_it_has_confirmed_and_leaves_its_open_attempts_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(2);
    let (mut doubtful, mut in_flight) = (0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_store-writer"))
            .arg(dir.path())
            .arg(round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, heard) = channel();
        let reader =
            std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));

        // A number of operations, then a moment inside the next ones.
        let mut words = Words::default();
        for _ in 0..1 + rng.below(60) {
            words.hear(&heard.recv().unwrap());
        }
        let moment = Duration::from_micros(rng.below(4_000));
        while let Ok(line) = heard.recv_timeout(moment) {
            words.hear(&line);
            if rng.below(4) == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        loop {
            match heard.recv_timeout(Duration::from_secs(10)) {
                Ok(line) => words.hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("a killed child goes on writing"),
            }
        }
        let _ = reader.join().unwrap();

        let (events, doubt) = check::directory(dir.path());
        let Words { done, next } = words;
        assert!(
            events == done || events == next,
            "round {round}: {events} events, {done} confirmed, {next} asked"
        );
        doubtful += u64::from(doubt > 0);
        in_flight += u64::from(done != next);
    }
    assert!(doubtful > KILLS / 3, "only {doubtful} kills hit an open attempt");
    assert!(in_flight > 3, "only {in_flight} kills hit an operation");
}

#[test]
fn killed_while_it_creates_the_records_a_writer_leaves_a_directory_that_opens() {
    let mut rng = Rng(3);
    let mut created = 0;
    for round in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("records.db");
        let mut child = Command::new(env!("CARGO_BIN_EXE_store-writer"))
            .arg(dir.path())
            .arg("1")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Half the kills are counted from the start of the process, half from the first sight of the file.
        if round % 2 == 0 {
            while !database.exists() {
                wait_us(50);
            }
        }
        wait_us(rng.below(6_000));
        child.kill().unwrap();
        child.wait().unwrap();
        created += u64::from(database.exists());
        check::directory(dir.path());
    }
    assert!(created >= 15);
}

fn wait_us(us: u64) {
    let (_silent, heard) = channel::<()>();
    assert_eq!(heard.recv_timeout(Duration::from_micros(us)), Err(RecvTimeoutError::Timeout));
}

/// What the writer said: events that are durable, and that will be after the operation it is doing.
#[derive(Default)]
struct Words {
    done: u64,
    next: u64,
}

impl Words {
    fn hear(&mut self, line: &str) {
        let (word, number) = line.split_once(' ').unwrap();
        let number = number.parse().unwrap();
        match word {
            "done" => *self = Self { done: number, next: number },
            "next" => self.next = number,
            other => panic!("{other:?}"),
        }
    }
}
