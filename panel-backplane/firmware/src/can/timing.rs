//! Bit timing from clock and bit rate: as many time quanta as the register fields allow, sample point near 87 %.
//!
//! Sample point as CiA 301 and CiA 601-3 recommend it. Fails at compile time, never on the bus.

/// One phase's timing in time quanta. The synchronisation segment is one quantum more.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) prescaler: u32,
    /// Propagation and first phase segment.
    pub(crate) before_sample: u32,
    pub(crate) after_sample: u32,
}

/// The timing for this bit rate from this clock. `most` are the longest segments before and after the sample
/// point. Does not compile if no whole number of quanta gives the bit rate: a mistake in the board file.
pub(crate) const fn timing(clock_hz: u32, bitrate: u32, most: (u32, u32)) -> Timing {
    let cycles = clock_hz / bitrate;
    assert!(cycles * bitrate == clock_hz, "this CAN bit rate is no fraction of the clock");
    let mut prescaler = 1;
    while prescaler <= 256 {
        let quanta = cycles / prescaler;
        let after_sample = if quanta < 16 { 1 } else { quanta / 8 };
        if quanta >= 5 && quanta * prescaler == cycles && after_sample <= most.1 {
            let before_sample = quanta - after_sample - 1;
            if before_sample <= most.0 {
                return Timing { prescaler, before_sample, after_sample };
            }
        }
        prescaler += 1;
    }
    panic!("this CAN bit rate needs other time quanta than the controller has");
}
