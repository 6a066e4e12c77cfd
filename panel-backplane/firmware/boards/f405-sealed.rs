// The reference board once more (f405.rs), for a product whose images are sealed. The key is that of RFC 8032, 7.1,
// test 1, whose secret half everybody knows: put your own here.
pub(crate) const BOARD: Board = Board {
    hardware_revision: 1,
    clock: ClockSource::Internal,
    can: Can {
        instance: 2,
        rx: Pin::new(b'B', 5),
        tx: Pin::new(b'B', 13),
        alternate: 9,
        bitrate: 1_000_000,
        data_bitrate: 0,
    },
    usart: Usart { rx: Pin::new(b'A', 10), tx: Pin::new(b'A', 9), alternate: 7, baud: 115_200 },
    straps: &[],
    stay: Some(StayPin { pin: Pin::new(b'C', 13), high: false }),
    led: Some(Pin::new(b'C', 0)),
    start_window_ms: 300,
    watchdog: false,
    identity: None,
    slot: None,
    seal: Some([
        0xD7, 0x5A, 0x98, 0x01, 0x82, 0xB1, 0x0A, 0xB7, 0xD5, 0x4B, 0xFE, 0xD3, 0xC9, 0x64, 0x07, 0x3A, 0x0E, 0xE1, 0x72,
        0xF3, 0xDA, 0xA6, 0x23, 0x25, 0xAF, 0x02, 0x1A, 0x68, 0xF7, 0x07, 0x51, 0x1A,
    ]),
};
