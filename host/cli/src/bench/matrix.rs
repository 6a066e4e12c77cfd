//! Which rows there are: without filters one line through every quantity with the others held at the reference,
//! with filters every combination of the values given.

use core::fmt;

use clap::{Args, ValueEnum};
use panel_backplane::units::BitRate;
use panel_backplane::{BusKind, Way};

use super::firmware::{self, ImageSize};
use super::rom::RomPoint;

/// A way to the boards that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchWay {
    Multidrop,
    /// Multidrop with identity, option bytes, lock and its proof.
    Factory,
    /// The same, with a key and a certificate for each board in its identity.
    #[value(name = "factory+certificate")]
    FactoryCertificate,
    RomUart,
    RomCan,
    RomFdcan,
    #[value(name = "rom-uart+agent")]
    RomUartAgent,
    #[value(name = "rom-can+agent")]
    RomCanAgent,
    #[value(name = "rom-fdcan+agent")]
    RomFdcanAgent,
}

impl BenchWay {
    const fn is_fdcan(self) -> bool {
        matches!(self, Self::RomFdcan | Self::RomFdcanAgent)
    }

    /// As in rows.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Factory => "factory",
            Self::FactoryCertificate => "factory+certificate",
            _ => self.way().name(),
        }
    }

    /// Whether boards get an identity, option bytes and a lock.
    pub(super) const fn is_factory(self) -> bool {
        matches!(self, Self::Factory | Self::FactoryCertificate)
    }

    pub(super) const fn way(self) -> Way {
        match self {
            Self::Multidrop | Self::Factory | Self::FactoryCertificate => Way::Multidrop,
            Self::RomUart => Way::RomUart,
            Self::RomCan => Way::RomCan,
            Self::RomFdcan => Way::RomFdcan,
            Self::RomUartAgent => Way::RomUartAgent,
            Self::RomCanAgent => Way::RomCanAgent,
            Self::RomFdcanAgent => Way::RomFdcanAgent,
        }
    }
}

/// A chip family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    #[value(name = "F4")]
    F4,
    #[value(name = "G4")]
    G4,
    #[value(name = "F1")]
    F1,
    #[value(name = "G0")]
    G0,
}

/// A kind of bus with its rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BusName {
    #[value(name = "can-500k")]
    Can500k,
    #[value(name = "can-1M")]
    Can1M,
    #[value(name = "fd-1M-5M")]
    Fd1M5M,
    #[value(name = "uart-115200")]
    Uart115200,
    #[value(name = "uart-230400")]
    Uart230400,
    #[value(name = "uart-460800")]
    Uart460800,
}

/// Boards on one bus at most: the protocol's numbers go from 0 to 127.
const PER_BUS: u16 = 128;

/// What the F1's ROM can do at 8 MHz; 256000 baud is the most that users report.
const FASTEST_F1: u32 = 256_000;

/// What is measured; without any of these a selection that covers everything once. Each may be repeated or take
/// several values with commas between them.
#[derive(Debug, Args)]
pub(crate) struct Filters {
    /// Way to the boards. `rom-uart` without `--boards` is one board's session alone, at every rate.
    #[arg(long, value_delimiter = ',', value_name = "WAY")]
    way: Vec<BenchWay>,
    /// Chip family [reference: F4; on CAN FD: G4; through an FDCAN ROM: G0].
    #[arg(long, value_delimiter = ',', value_name = "FAMILY", ignore_case = true)]
    family: Vec<Family>,
    /// Number of boards [reference: 21].
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    boards: Vec<u16>,
    /// Number of buses that share the boards [reference: 1; for 128 boards: 1, 2 and 4].
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    buses: Vec<u8>,
    /// Image size: 64K, 256K or 1M [reference: 256K].
    #[arg(long, value_delimiter = ',', value_name = "SIZE", value_parser = ImageSize::parse)]
    image: Vec<ImageSize>,
    /// Bus [reference: can-1M].
    #[arg(long, value_delimiter = ',', value_name = "BUS", ignore_case = true)]
    bus: Vec<BusName>,
    /// Share of frames that each board misses on its own, from 0 to 0.5 [reference: 0].
    #[arg(long, value_delimiter = ',', value_name = "SHARE", value_parser = loss)]
    loss: Vec<f64>,
    /// Milliseconds from host to adapter, and back, from 0 to 20 [reference: 0].
    #[arg(long, value_delimiter = ',', value_name = "MS", value_parser = latency)]
    latency: Vec<f64>,
}

/// What one row measures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) way: BenchWay,
    pub(super) family: Family,
    pub(super) boards: u16,
    pub(super) buses: u8,
    pub(super) image: ImageSize,
    pub(super) bus: BusName,
    pub(super) loss: f64,
    pub(super) latency_ms: f64,
}

/// The demonstration's job.
const REFERENCE: Point = Point {
    way: BenchWay::Multidrop,
    family: Family::F4,
    boards: 21,
    buses: 1,
    image: ImageSize::K256,
    bus: BusName::Can1M,
    loss: 0.0,
    latency_ms: 0.0,
};

impl Filters {
    /// The rows, and what is to be said about combinations that cannot be.
    pub(super) fn points(&self) -> (Vec<Point>, Vec<String>) {
        let all = match (self.way.is_empty(), self.is_empty()) {
            (true, true) => selection(),
            // Sessions of one board stand for `rom-uart`, see `rom_points`.
            (false, true) => {
                let wanted = |p: &Point| p.way != BenchWay::RomUart && self.way.contains(&p.way);
                selection().into_iter().filter(wanted).collect()
            }
            (_, false) => self.product(),
        };
        let mut notes: Vec<String> = Vec::new();
        let possible = all.into_iter().filter(|point| match point.obstacle() {
            None => true,
            Some(note) => {
                if !notes.contains(&note) {
                    notes.push(note);
                }
                false
            }
        });
        let points = possible.collect();
        (points, notes)
    }

    /// The rows of the way `rom-uart`: every family, rate and latency, unless filters say which; and what is to be
    /// said about those that cannot be.
    pub(super) fn rom_points(&self) -> (Vec<RomPoint>, Vec<String>) {
        let wanted = self.way.contains(&BenchWay::RomUart) && self.boards.is_empty();
        let named = self.bus.iter().any(|bus| bus.baud().is_some());
        if !(wanted || self.way.is_empty() && (named || self.is_empty())) {
            return (Vec::new(), Vec::new());
        }
        let (mut points, mut notes) = (Vec::new(), Vec::new());
        for family in or(&self.family, &[Family::F4, Family::G4, Family::F1]) {
            for image in or(&self.image, &[ImageSize::K64]) {
                for bus in or(&self.bus, &[BusName::Uart115200, BusName::Uart230400, BusName::Uart460800]) {
                    let Some(baud) = bus.baud() else { continue };
                    let slow = family == Family::F1 && baud > FASTEST_F1;
                    if slow || firmware::chip_for(family, image).is_none() {
                        let (family, bus) = (family.name(), bus.name());
                        notes.push(match slow {
                            true => format!(
                                "no row for {family} on {bus}: its ROM runs at 8 MHz, too slow for that"
                            ),
                            false => format!(
                                "no row for {family} with {image}: its largest chip has no room for it"
                            ),
                        });
                        continue;
                    }
                    for latency_ms in or(&self.latency, &[0.0, 1.0, 16.0]) {
                        let point = RomPoint { family, image, bus, baud, latency_ms, words: false };
                        points.push(point.clone());
                        if family == Family::F4 {
                            points.push(RomPoint { words: true, ..point });
                        }
                    }
                }
            }
        }
        (points, notes)
    }

    fn is_empty(&self) -> bool {
        let Self { way: _, family, boards, buses, image, bus, loss, latency } = self;
        family.is_empty()
            && (boards.is_empty() && buses.is_empty())
            && (image.is_empty() && bus.is_empty())
            && (loss.is_empty() && latency.is_empty())
    }

    fn product(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for (way, bus) in self.ways_and_buses() {
            let family = match bus {
                _ if way.is_fdcan() => Family::G0,
                BusName::Fd1M5M => Family::G4,
                _ => REFERENCE.family,
            };
            for family in or(&self.family, &[family]) {
                for image in or(&self.image, &[REFERENCE.image]) {
                    for boards in or(&self.boards, &[REFERENCE.boards]) {
                        let buses: &[u8] = if boards == PER_BUS { &[1, 2, 4] } else { &[REFERENCE.buses] };
                        for buses in or(&self.buses, buses) {
                            for loss in or(&self.loss, &[REFERENCE.loss]) {
                                for latency_ms in or(&self.latency, &[REFERENCE.latency_ms]) {
                                    points.push(Point {
                                        way,
                                        family,
                                        boards,
                                        buses,
                                        image,
                                        bus,
                                        loss,
                                        latency_ms,
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
        points
    }
}

impl Filters {
    /// Ports are for boards that have nothing else.
    fn ways_and_buses(&self) -> Vec<(BenchWay, BusName)> {
        let mut pairs = Vec::new();
        for way in or(&self.way, &[REFERENCE.way]) {
            let by_port = way == BenchWay::RomUart;
            if by_port && self.boards.is_empty() {
                continue;
            }
            let usual = match way {
                _ if by_port => BusName::Uart115200,
                _ if way.is_fdcan() => BusName::Fd1M5M,
                _ => REFERENCE.bus,
            };
            let buses = or(&self.bus, &[usual]).into_iter().filter(|bus| bus.baud().is_some() == by_port);
            pairs.extend(buses.map(|bus| (way, bus)));
        }
        pairs
    }
}

fn or<T: Copy>(given: &[T], reference: &[T]) -> Vec<T> {
    if given.is_empty() { reference.to_vec() } else { given.to_vec() }
}

/// Every value at least once with the others at the reference, and the combinations that docs/performance.md
/// speaks of.
fn selection() -> Vec<Point> {
    let r = REFERENCE;
    let mut points: Vec<Point> = [1, 4, 21, 64].map(|boards| Point { boards, ..r.clone() }).into();
    points.extend([1, 2, 4].map(|buses| Point { boards: 128, buses, ..r.clone() }));
    points.extend([ImageSize::K64, ImageSize::M1].map(|image| Point { image, ..r.clone() }));
    points.push(Point { boards: 64, image: ImageSize::M1, ..r.clone() });
    points.extend([0.001, 0.01].map(|loss| Point { loss, ..r.clone() }));
    points.extend([0.001, 0.01].map(|loss| Point { boards: 64, loss, ..r.clone() }));
    points.push(Point { bus: BusName::Can500k, ..r.clone() });
    points.push(Point { latency_ms: 1.0, ..r.clone() });
    for family in [Family::G4, Family::F1] {
        for image in [ImageSize::K64, ImageSize::K256, ImageSize::M1] {
            points.push(Point { family, image, ..r.clone() });
        }
        points.push(Point { family, boards: 64, ..r.clone() });
        points.push(Point { family, loss: 0.01, ..r.clone() });
    }
    let fd = Point { family: Family::G4, bus: BusName::Fd1M5M, ..r };
    points.extend([ImageSize::K64, ImageSize::K256].map(|image| Point { image, ..fd.clone() }));
    points.push(Point { boards: 64, ..fd.clone() });
    points.push(Point { loss: 0.01, ..fd });
    let r = REFERENCE;
    let way = BenchWay::Factory;
    points.extend([Family::F4, Family::G4, Family::F1].map(|family| Point { way, family, ..r.clone() }));
    points.push(Point { way: BenchWay::FactoryCertificate, ..r.clone() });
    for way in [BenchWay::RomUartAgent, BenchWay::RomCanAgent] {
        points.extend([ImageSize::K64, r.image].map(|image| Point { way, image, ..r.clone() }));
    }
    points.push(Point { way: BenchWay::RomCan, image: ImageSize::K64, ..r.clone() });
    for way in [BenchWay::RomFdcan, BenchWay::RomFdcanAgent] {
        let (family, bus) = (Family::G0, BusName::Fd1M5M);
        points.push(Point { way, image: ImageSize::K64, family, bus, ..r.clone() });
    }
    let way = BenchWay::RomUart;
    points.push(Point { way, image: ImageSize::K64, bus: BusName::Uart115200, ..r });
    points
}

impl Point {
    /// The same without identity, option bytes and lock.
    pub(super) fn plain(&self) -> Self {
        let way = if self.way.is_factory() { BenchWay::Multidrop } else { self.way };
        Self { way, ..self.clone() }
    }

    /// The same job for one board alone.
    pub(super) fn alone(&self) -> Self {
        Self { boards: 1, buses: 1, ..self.clone() }
    }

    /// Why there can be no such row.
    fn obstacle(&self) -> Option<String> {
        let (family, bus) = (self.family.name(), self.bus.name());
        if matches!(self.way, BenchWay::RomCan | BenchWay::RomCanAgent) && self.family != Family::F4 {
            let way = self.way.way();
            return Some(format!("no row for {family} by {way}: the ROM of its chips has no CAN loader"));
        }
        if self.way.is_fdcan() && (self.family != Family::G0 || self.bus != BusName::Fd1M5M) {
            let way = self.way.way();
            return Some(format!(
                "no row for {family} on {bus} by {way}: of the chips here only those of G0 have an FDCAN loader, on CAN FD"
            ));
        }
        if !(self.way == BenchWay::Multidrop || self.way.is_fdcan()) && self.bus == BusName::Fd1M5M {
            return Some(format!("no row for {bus} by {}: no chip here has both", self.way.way()));
        }
        if self.bus == BusName::Fd1M5M && !matches!(self.family, Family::G4 | Family::G0) {
            return Some(format!("no row for {family} on {bus}: its chips have no FDCAN"));
        }
        if firmware::chip_for(self.family, self.image).is_none() {
            let image = self.image;
            return Some(format!("no row for {family} with {image}: its largest chip has no room for it"));
        }
        if u16::from(self.buses) > self.boards {
            return Some(format!("no row for {} boards on {} buses", self.boards, self.buses));
        }
        if self.boards.div_ceil(self.buses.into()) > PER_BUS {
            let (boards, buses) = (self.boards, self.buses);
            return Some(format!(
                "no row for {boards} boards on {buses} buses: {PER_BUS} is the most for one"
            ));
        }
        None
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { way, family, boards, buses, image, bus, loss, latency_ms } = self;
        write!(f, "{} {} {image} {boards} boards {buses} x {}", way.name(), family.name(), bus.name())?;
        write!(f, " loss {loss} latency {latency_ms} ms")
    }
}

impl Family {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F4 => "F4",
            Self::G4 => "G4",
            Self::F1 => "F1",
            Self::G0 => "G0",
        }
    }
}

impl BusName {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Can500k => "can-500k",
            Self::Can1M => "can-1M",
            Self::Fd1M5M => "fd-1M-5M",
            Self::Uart115200 => "uart-115200",
            Self::Uart230400 => "uart-230400",
            Self::Uart460800 => "uart-460800",
        }
    }

    /// The baud rate, if it is a port of one board and no bus.
    pub(super) const fn baud(self) -> Option<u32> {
        match self {
            Self::Uart115200 => Some(115_200),
            Self::Uart230400 => Some(230_400),
            Self::Uart460800 => Some(460_800),
            Self::Can500k | Self::Can1M | Self::Fd1M5M => None,
        }
    }

    /// Kind and rate of the bus; a port has only a rate.
    pub(super) const fn kind(self) -> (BusKind, BitRate) {
        match self {
            Self::Uart115200 => (BusKind::Classical, BitRate(115_200)),
            Self::Uart230400 => (BusKind::Classical, BitRate(230_400)),
            Self::Uart460800 => (BusKind::Classical, BitRate(460_800)),
            Self::Can500k => (BusKind::Classical, BitRate(500_000)),
            Self::Can1M => (BusKind::Classical, BitRate::M1),
            Self::Fd1M5M => (BusKind::Fd { data_bit_rate: BitRate(5_000_000) }, BitRate::M1),
        }
    }
}

fn within(text: &str, most: f64) -> Option<f64> {
    text.parse::<f64>().ok().filter(|v| (0.0..=most).contains(v))
}

fn loss(text: &str) -> Result<f64, String> {
    within(text, 0.5).ok_or_else(|| "expected a share from 0 to 0.5, such as 0.001".to_owned())
}

fn latency(text: &str) -> Result<f64, String> {
    within(text, 20.0).ok_or_else(|| "expected milliseconds from 0 to 20, such as 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filters: Filters,
    }

    fn points(line: &str) -> (Vec<Point>, Vec<String>) {
        Line::try_parse_from(["bench"].into_iter().chain(line.split_whitespace())).unwrap().filters.points()
    }

    #[test]
    fn filters_take_every_combination_with_the_rest_at_the_reference() {
        let (found, notes) = points("--boards 1,4 --boards 64 --loss 0,0.01 --image 65536");
        assert_eq!((found.len(), notes.len()), (6, 0));
        assert!(found.iter().all(|p| p.image == ImageSize::K64 && p.bus == BusName::Can1M && p.buses == 1));
        let shape: Vec<_> = found.iter().map(|p| (p.boards, p.loss)).collect();
        assert_eq!(shape, [(1, 0.0), (1, 0.01), (4, 0.0), (4, 0.01), (64, 0.0), (64, 0.01)]);
    }

    #[test]
    fn the_factory_part_is_a_way_of_its_own_and_one_row_for_each_family_of_the_selection() {
        let factory = |line: &str| points(line).0.iter().filter(|p| p.way == BenchWay::Factory).count();
        assert_eq!((factory(""), factory("--way factory")), (3, 3));
        assert_eq!((factory("--way factory --boards 1,64"), factory("--boards 64")), (2, 0));
        assert_eq!(points("--way factory,multidrop --boards 64").0.len(), 2);
    }

    #[test]
    fn a_hundred_and_twenty_eight_boards_are_measured_on_one_two_and_four_buses() {
        let buses = |line| points(line).0.iter().map(|p| p.buses).collect::<Vec<_>>();
        assert_eq!(buses("--boards 128"), [1, 2, 4]);
        assert_eq!(buses("--boards 128 --buses 2"), [2]);
    }

    #[test]
    fn what_cannot_be_is_no_row_but_a_note() {
        for line in ["--family F1 --image 1M", "--family g4 --image 1M", "--family F4 --bus fd-1M-5M"] {
            let (found, notes) = points(line);
            assert_eq!((found.len(), notes.len()), (0, 1), "{line}: {notes:?}");
        }
        assert_eq!(points("--boards 2 --buses 4").0.len(), 0);
        assert_eq!(points("--boards 200").0.len(), 0);
    }

    #[test]
    fn fd_without_a_family_means_the_family_that_has_it() {
        let (found, _) = points("--bus fd-1M-5M,can-1M");
        assert_eq!(found.iter().map(|p| p.family).collect::<Vec<_>>(), [Family::G4, Family::F4]);
    }

    #[test]
    fn the_selection_has_every_value_and_no_row_twice() {
        let (found, notes) = points("");
        for (n, point) in found.iter().enumerate() {
            assert!(!found[..n].contains(point), "{point}");
        }
        for boards in [1, 4, 21, 64, 128] {
            assert!(found.iter().any(|p| p.boards == boards));
        }
        for bus in [BusName::Can500k, BusName::Can1M, BusName::Fd1M5M] {
            assert!(found.iter().any(|p| p.bus == bus));
        }
        assert_eq!(notes.len(), 2, "G4 and F1 have no room for 1 MiB");
    }

    #[test]
    fn ports_are_rows_of_the_rom_and_buses_rows_of_the_multidrop_protocol() {
        let both = |line: &str| {
            let line = Line::try_parse_from(["bench"].into_iter().chain(line.split_whitespace())).unwrap();
            (line.filters.points().0.len(), line.filters.rom_points().0.len())
        };
        assert_eq!(both("--way rom-uart"), (0, 33));
        assert_eq!(both("--way rom-uart --family F4 --bus uart-460800 --latency 16"), (0, 2));
        assert_eq!(both("--bus uart-115200,can-1M --family F1 --latency 0"), (1, 1));
        assert_eq!(both("--way multidrop --bus can-500k"), (1, 0));
        assert_eq!(both("").1, 33);
        assert_eq!(both("--family F1 --bus uart-460800"), (0, 0));
    }

    #[test]
    fn unknown_values_name_what_exists() {
        for (line, word) in [
            ("--bus can-2M", "fd-1M-5M"),
            ("--family H7", "G4"),
            ("--image 3M", "256K"),
            ("--way rom-usb", "multidrop"),
            ("--boards 0", "1..=512"),
            ("--loss 2", "0.5"),
        ] {
            let error =
                Line::try_parse_from(["bench"].into_iter().chain(line.split_whitespace())).err().unwrap();
            assert!(error.to_string().contains(word), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
