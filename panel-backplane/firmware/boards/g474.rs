// Reference board with STM32G474: crystal of 8 MHz, FDCAN1 on PA11 and PA12 with 5 Mbit/s in the data phase.
pub(crate) const BOARD: Board = Board {
    hardware_revision: 1,
    clock: ClockSource::Crystal { mhz: 8 },
    can: Can {
        instance: 1,
        rx: Pin::new(b'A', 11),
        tx: Pin::new(b'A', 12),
        alternate: 9,
        bitrate: 1_000_000,
        data_bitrate: 5_000_000,
    },
    usart: Usart { rx: Pin::new(b'A', 10), tx: Pin::new(b'A', 9), alternate: 7, baud: 115_200 },
    straps: &[],
    stay: Some(StayPin { pin: Pin::new(b'C', 13), high: false }),
    led: Some(Pin::new(b'C', 0)),
    start_window_ms: 300,
    watchdog: false,
    identity: None,
    slot: None,
    seal: None,
};
