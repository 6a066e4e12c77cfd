// Reference board with STM32G0B1: crystal of 8 MHz, FDCAN1 on PB8 and PB9 with 5 Mbit/s in the data phase.
pub(crate) const BOARD: Board = Board {
    hardware_revision: 1,
    clock: ClockSource::Crystal { mhz: 8 },
    can: Can {
        instance: 1,
        rx: Pin::new(b'B', 8),
        tx: Pin::new(b'B', 9),
        alternate: 3,
        bitrate: 1_000_000,
        data_bitrate: 5_000_000,
    },
    usart: Usart { rx: Pin::new(b'A', 10), tx: Pin::new(b'A', 9), alternate: 1, baud: 115_200 },
    straps: &[],
    stay: Some(StayPin { pin: Pin::new(b'C', 13), high: false }),
    led: Some(Pin::new(b'C', 0)),
    start_window_ms: 300,
    watchdog: false,
    identity: None,
    slot: None,
    seal: None,
};
