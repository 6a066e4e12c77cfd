//! Faults a device can be given, and how they are written on a command line.
//!
//! `NAME[:KEY=VALUE[,KEY=VALUE...]]`, for example `kill:byte=1000` or `nack:answer=3`. [`FAULT_HELP`] lists
//! all of them; a fault that cannot be parsed says what was expected. Counting starts at the first power-on
//! and goes on over resets, so that a fault with a number strikes once.

use crate::options::Protection;
use core::str::FromStr;
use core::time::Duration;

/// One line for each fault, for a command's help text.
pub const FAULT_HELP: &str = include_str!("fault_help.txt");

/// When a fault strikes. Counts start at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// On arrival of the n-th byte (CAN: frame).
    Byte(u64),
    /// After the n-th command code, before it is answered.
    Command(u64),
    /// Instead of the n-th answer.
    Answer(u64),
    /// This long after the first power-on.
    Time(Duration),
}

/// Which of many like things a fault hits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Which {
    /// The n-th, from 1.
    Nth(u64),
    /// Each with this probability.
    Rate(f64),
}

/// Direction of lost bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Bytes on their way to the device.
    Host,
    /// Bytes on their way to the host.
    Device,
}

/// A fault; see [`FAULT_HELP`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// No answers from this point on (`None`: from the start).
    Mute(Option<Point>),
    /// NACK instead of the n-th answer and the `times - 1` after it.
    Nack {
        /// First answer hit.
        answer: u64,
        /// How many.
        times: u64,
    },
    /// One bit of a block that is read is wrong.
    WrongData(Which),
    /// The device resets.
    Reset(Point),
    /// The device loses power for a while.
    Kill {
        /// When.
        at: Point,
        /// For how long.
        off: Duration,
    },
    /// The adapter sends no parity bit.
    NoParity,
    /// This share of the host's bytes arrives with a bad parity bit.
    BadParity(f64),
    /// Answers are late.
    SlowAnswer {
        /// By so much.
        delay: Duration,
        /// Only this answer; all of them if `None`.
        answer: Option<u64>,
    },
    /// Bytes vanish.
    Lost {
        /// Which.
        which: Which,
        /// In which direction.
        from: Direction,
    },
    /// Noise before the first byte from the host.
    Glitch(u8),
    /// Noise before the first answer.
    Stray(u8),
    /// Read-out protection.
    Protected(Protection),
    /// Readout Protect is acknowledged and changes nothing.
    LockIgnored,
    /// A protected chip is served as if it were open.
    ReadsWhenLocked,
    /// Writes to the option bytes are refused.
    OptionsRefused,
    /// Bit 0 of this flash byte is always 1.
    Stuck(u32),
    /// Get ID names another product.
    ProductId(u16),
}

/// Why a fault could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such fault.
    #[error("unknown fault \"{name}\"; the faults are:\n{FAULT_HELP}")]
    Name {
        /// As given.
        name: String,
    },
    /// A `KEY=VALUE` without `=`, or a key the fault does not have.
    #[error("fault {fault} does not understand \"{part}\"; expected {expected}")]
    Key {
        /// The fault.
        fault: String,
        /// The part that is wrong.
        part: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A value out of range or not a number.
    #[error("fault {fault}: {key} cannot be \"{value}\"; expected {expected}")]
    Value {
        /// The fault.
        fault: String,
        /// The key.
        key: String,
        /// As given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A key the fault cannot do without.
    #[error("fault {fault} needs {expected}")]
    Missing {
        /// The fault.
        fault: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut args = Args::new(name, rest)?;
        let fault = parse(&mut args)?;
        args.finish()?;
        Ok(fault)
    }
}

fn parse(args: &mut Args<'_>) -> Result<Fault, FaultError> {
    let point = "byte=K, command=K, answer=K or ms=T";
    Ok(match args.fault {
        "mute" => {
            args.expected = point;
            Fault::Mute(args.point()?)
        }
        "nack" => {
            args.expected = "answer=K[,times=N]";
            let times = args.count("times")?.unwrap_or(1);
            Fault::Nack { answer: args.needed("answer", Args::count)?, times }
        }
        "wrong-data" => {
            args.expected = "read=K or rate=P";
            Fault::WrongData(args.which("read")?)
        }
        "reset" => {
            args.expected = point;
            Fault::Reset(args.point()?.ok_or_else(|| args.missing())?)
        }
        "kill" => {
            args.expected = "byte=K, command=K, answer=K or ms=T, and optionally off-ms=T";
            let off = args.millis("off-ms")?.unwrap_or(Duration::from_millis(100));
            Fault::Kill { at: args.point()?.ok_or_else(|| args.missing())?, off }
        }
        "parity" => {
            args.expected = "nothing, or rate=P";
            args.rate("rate")?.map_or(Fault::NoParity, Fault::BadParity)
        }
        "slow-ack" => {
            args.expected = "ms=T[,answer=K]";
            let answer = args.count("answer")?;
            Fault::SlowAnswer { delay: args.needed("ms", Args::millis)?, answer }
        }
        "lost" => {
            args.expected = "byte=K or rate=P, and optionally from=host or from=device";
            let from = args.side()?;
            Fault::Lost { which: args.which("byte")?, from }
        }
        "glitch" => {
            args.expected = "nothing, or byte=0xNN";
            Fault::Glitch(args.byte("byte")?)
        }
        "stray" => {
            args.expected = "nothing, or byte=0xNN";
            Fault::Stray(args.byte("byte")?)
        }
        "protected" => {
            args.expected = "level=1 or level=2";
            match args.count("level")? {
                None | Some(1) => Fault::Protected(Protection::Level1),
                Some(2) => Fault::Protected(Protection::Level2),
                Some(other) => return Err(args.bad("level", &other.to_string(), "1 or 2")),
            }
        }
        "stuck" => {
            args.expected = "address=0xNNNNNNNN";
            Fault::Stuck(args.needed("address", Args::address)?)
        }
        "product-id" => {
            args.expected = "id=0xNNN";
            let id = args.needed("id", Args::address)?;
            let bad = || args.bad("id", &format!("{id:#x}"), "a product ID such as 0x413");
            Fault::ProductId(u16::try_from(id).map_err(|_| bad())?)
        }
        "lock-ignored" => Fault::LockIgnored,
        "reads-when-locked" => Fault::ReadsWhenLocked,
        "options-refused" => Fault::OptionsRefused,
        other => return Err(FaultError::Name { name: other.to_owned() }),
    })
}

/// The `KEY=VALUE` pairs of one fault; each is taken at most once, what is left over is an error.
struct Args<'a> {
    fault: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
    expected: &'static str,
}

impl<'a> Args<'a> {
    fn new(fault: &'a str, rest: &'a str) -> Result<Self, FaultError> {
        let pairs = rest.split(',').filter(|part| !part.is_empty()).map(|part| {
            part.split_once('=').ok_or_else(|| FaultError::Key {
                fault: fault.to_owned(),
                part: part.to_owned(),
                expected: "KEY=VALUE",
            })
        });
        Ok(Self { fault, pairs: pairs.collect::<Result<_, _>>()?, expected: "nothing" })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.pairs.iter().position(|(k, _)| *k == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn finish(self) -> Result<(), FaultError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, value)) => Err(FaultError::Key {
                fault: self.fault.to_owned(),
                part: format!("{key}={value}"),
                expected: self.expected,
            }),
        }
    }

    fn bad(&self, key: &str, value: &str, expected: &'static str) -> FaultError {
        FaultError::Value {
            fault: self.fault.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        }
    }

    fn missing(&self) -> FaultError {
        FaultError::Missing { fault: self.fault.to_owned(), expected: self.expected }
    }

    fn needed<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Self, &str) -> Result<Option<T>, FaultError>,
    ) -> Result<T, FaultError> {
        read(self, key)?.ok_or_else(|| self.missing())
    }

    fn count(&mut self, key: &str) -> Result<Option<u64>, FaultError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match text.parse() {
            Ok(n) if n > 0 => Ok(Some(n)),
            _ => Err(self.bad(key, text, "a whole number from 1")),
        }
    }

    fn millis(&mut self, key: &str) -> Result<Option<Duration>, FaultError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match text.parse() {
            Ok(ms) => Ok(Some(Duration::from_millis(ms))),
            Err(_) => Err(self.bad(key, text, "a whole number of milliseconds")),
        }
    }

    fn rate(&mut self, key: &str) -> Result<Option<f64>, FaultError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match text.parse::<f64>() {
            Ok(p) if (0.0..=1.0).contains(&p) => Ok(Some(p)),
            _ => Err(self.bad(key, text, "a share from 0 to 1")),
        }
    }

    fn address(&mut self, key: &str) -> Result<Option<u32>, FaultError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        match hex(text) {
            Some(address) => Ok(Some(address)),
            None => Err(self.bad(key, text, "an address such as 0x08000010")),
        }
    }

    fn byte(&mut self, key: &str) -> Result<u8, FaultError> {
        let Some(text) = self.take(key) else { return Ok(0) };
        hex(text).and_then(|v| u8::try_from(v).ok()).ok_or_else(|| self.bad(key, text, "a byte such as 0x00"))
    }

    fn which(&mut self, key: &str) -> Result<Which, FaultError> {
        match (self.count(key)?, self.rate("rate")?) {
            (Some(n), None) => Ok(Which::Nth(n)),
            (None, Some(p)) => Ok(Which::Rate(p)),
            _ => Err(self.missing()),
        }
    }

    fn side(&mut self) -> Result<Direction, FaultError> {
        match self.take("from") {
            None | Some("host") => Ok(Direction::Host),
            Some("device") => Ok(Direction::Device),
            Some(other) => Err(self.bad("from", other, "host or device")),
        }
    }

    fn point(&mut self) -> Result<Option<Point>, FaultError> {
        let found = [
            self.count("byte")?.map(Point::Byte),
            self.count("command")?.map(Point::Command),
            self.count("answer")?.map(Point::Answer),
            self.millis("ms")?.map(Point::Time),
        ];
        let mut found = found.into_iter().flatten();
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(self.missing()),
            (point, None) => Ok(point),
        }
    }
}

fn hex(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_in_the_help_text_parses() {
        let ms = Duration::from_millis;
        for (text, fault) in [
            ("mute", Fault::Mute(None)),
            ("mute:byte=7", Fault::Mute(Some(Point::Byte(7)))),
            ("nack:answer=3", Fault::Nack { answer: 3, times: 1 }),
            ("nack:answer=3,times=2", Fault::Nack { answer: 3, times: 2 }),
            ("wrong-data:read=2", Fault::WrongData(Which::Nth(2))),
            ("wrong-data:rate=0.1", Fault::WrongData(Which::Rate(0.1))),
            ("reset:command=4", Fault::Reset(Point::Command(4))),
            ("kill:ms=50", Fault::Kill { at: Point::Time(ms(50)), off: ms(100) }),
            ("kill:byte=9,off-ms=5", Fault::Kill { at: Point::Byte(9), off: ms(5) }),
            ("parity", Fault::NoParity),
            ("parity:rate=0.5", Fault::BadParity(0.5)),
            ("slow-ack:ms=20", Fault::SlowAnswer { delay: ms(20), answer: None }),
            ("lost:byte=3", Fault::Lost { which: Which::Nth(3), from: Direction::Host }),
            ("lost:rate=0.01,from=device", Fault::Lost { which: Which::Rate(0.01), from: Direction::Device }),
            ("glitch", Fault::Glitch(0)),
            ("stray:byte=0xFF", Fault::Stray(0xFF)),
            ("protected", Fault::Protected(Protection::Level1)),
            ("protected:level=2", Fault::Protected(Protection::Level2)),
            ("lock-ignored", Fault::LockIgnored),
            ("reads-when-locked", Fault::ReadsWhenLocked),
            ("options-refused", Fault::OptionsRefused),
            ("stuck:address=0x08000010", Fault::Stuck(0x0800_0010)),
            ("product-id:id=0x0FF", Fault::ProductId(0xFF)),
        ] {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
    }

    #[test]
    fn a_fault_that_is_wrong_says_what_was_expected() {
        for (text, words) in [
            ("explode", "unknown fault \"explode\"; the faults are:"),
            ("kill", "kill needs byte=K"),
            ("kill:byte", "\"byte\"; expected KEY=VALUE"),
            ("kill:byte=0", "byte cannot be \"0\"; expected a whole number from 1"),
            ("lost:rate=2", "rate cannot be \"2\"; expected a share"),
            ("mute:later=3", "does not understand \"later=3\"; expected byte=K"),
            ("reset:byte=1,ms=2", "reset needs byte=K"),
            ("lost:byte=1,rate=1", "lost needs byte=K or rate=P"),
            ("product-id", "product-id needs id=0xNNN"),
            ("product-id:id=0x10000", "id cannot be \"0x10000\"; expected a product ID"),
            ("protected:level=3", "level cannot be \"3\"; expected 1 or 2"),
        ] {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
