// Reference board with STM32F103xE: crystal of 8 MHz, CAN on PB8 and PB9 (remapped).
pub(crate) const BOARD: Board = Board {
    hardware_revision: 1,
    clock: ClockSource::Crystal { mhz: 8 },
    can: Can {
        instance: 1,
        rx: Pin::new(b'B', 8),
        tx: Pin::new(b'B', 9),
        alternate: 2,
        bitrate: 1_000_000,
        data_bitrate: 0,
    },
    usart: Usart { rx: Pin::new(b'A', 10), tx: Pin::new(b'A', 9), alternate: 0, baud: 115_200 },
    straps: &[],
    stay: Some(StayPin { pin: Pin::new(b'C', 13), high: false }),
    led: Some(Pin::new(b'C', 0)),
    start_window_ms: 300,
    watchdog: false,
    identity: None,
    slot: None,
    seal: None,
};
