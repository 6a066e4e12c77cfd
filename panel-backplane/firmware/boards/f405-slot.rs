// The reference board once more (f405.rs), with a second slot: it keeps its application until the image that replaces it
// is committed. Images of 352 KiB at most; sector 10 keeps the newest record while the records are erased.
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
    slot: Some(0x0806_0000),
    seal: None,
};
