//! What happened on a bus, counted. Plain numbers; a caller takes two snapshots and looks at the difference.

use panel_protocol::time::Span;

/// Why an error frame was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Noise (the scenario's `corruption`).
    Noise,
    /// Noise hit the very last bit: the receivers took the frame, its transmitter repeats it all the same.
    LastBit,
    /// Two nodes sent the same identifier with different content.
    Collision,
    /// Nobody was there to acknowledge.
    NoAcknowledge,
    /// An FD frame met a controller that knows only classical CAN.
    NotFd,
    /// Its transmitter lost power or was reset in the middle of it.
    Broken,
    /// A controller on the bus has another bit rate than its transmitter.
    WrongRate,
}

/// Counters of one bus since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusStats {
    /// Frames delivered; identical frames sent together count once.
    pub frames: u64,
    /// Bits of these frames, stuffing and interframe space included.
    pub bits: u64,
    /// Payload bytes of these frames.
    pub payload: u64,
    /// Frames saved because identical ones merged.
    pub merged: u64,
    /// Error-passive transmitters that lost a collision without destroying the frame.
    pub dropped_out: u64,
    /// Frames destroyed by noise.
    pub noise: u64,
    /// Frames delivered twice because noise hit the last bit.
    pub last_bit: u64,
    /// Frames destroyed by a collision.
    pub collisions: u64,
    /// Frames that nobody acknowledged.
    pub unacknowledged: u64,
    /// FD frames destroyed by a classical controller.
    pub not_fd: u64,
    /// Frames whose transmitter vanished.
    pub broken: u64,
    /// Frames destroyed because controllers of two bit rates were on the bus.
    pub wrong_rate: u64,
    /// Controllers that went bus-off.
    pub bus_off: u64,
    /// Nanoseconds the bus was not idle, error frames included.
    pub(crate) busy_ns: u64,
}

impl BusStats {
    /// Error frames seen, whatever their cause.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.noise
            + self.last_bit
            + self.collisions
            + self.unacknowledged
            + self.not_fd
            + self.broken
            + self.wrong_rate
    }

    /// Time the bus was not idle, error frames included.
    #[must_use]
    pub const fn busy(&self) -> Span {
        Span(self.busy_ns / 1000)
    }

    /// What happened since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            frames: self.frames - earlier.frames,
            bits: self.bits - earlier.bits,
            payload: self.payload - earlier.payload,
            merged: self.merged - earlier.merged,
            dropped_out: self.dropped_out - earlier.dropped_out,
            noise: self.noise - earlier.noise,
            last_bit: self.last_bit - earlier.last_bit,
            collisions: self.collisions - earlier.collisions,
            unacknowledged: self.unacknowledged - earlier.unacknowledged,
            not_fd: self.not_fd - earlier.not_fd,
            broken: self.broken - earlier.broken,
            wrong_rate: self.wrong_rate - earlier.wrong_rate,
            bus_off: self.bus_off - earlier.bus_off,
            busy_ns: self.busy_ns - earlier.busy_ns,
        }
    }

    pub(crate) fn count(&mut self, kind: ErrorKind) {
        let counter = match kind {
            ErrorKind::Noise => &mut self.noise,
            ErrorKind::LastBit => &mut self.last_bit,
            ErrorKind::Collision => &mut self.collisions,
            ErrorKind::NoAcknowledge => &mut self.unacknowledged,
            ErrorKind::NotFd => &mut self.not_fd,
            ErrorKind::Broken => &mut self.broken,
            ErrorKind::WrongRate => &mut self.wrong_rate,
        };
        *counter += 1;
    }
}
