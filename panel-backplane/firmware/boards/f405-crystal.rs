// Example of a product: STM32F407 with a crystal of 8 MHz, CAN1 on PB8 and PB9, four address straps, no boot pin,
// and an application that feeds the watchdog.
pub(crate) const BOARD: Board = Board {
    hardware_revision: 0x0102,
    clock: ClockSource::Crystal { mhz: 8 },
    can: Can {
        instance: 1,
        rx: Pin::new(b'B', 8),
        tx: Pin::new(b'B', 9),
        alternate: 9,
        bitrate: 1_000_000,
        data_bitrate: 0,
    },
    usart: Usart { rx: Pin::new(b'B', 7), tx: Pin::new(b'B', 6), alternate: 7, baud: 115_200 },
    straps: &[Pin::new(b'E', 0), Pin::new(b'E', 1), Pin::new(b'E', 2), Pin::new(b'E', 3)],
    stay: None,
    led: Some(Pin::new(b'D', 12)),
    start_window_ms: 100,
    watchdog: true,
    identity: Some(0x0800_8000), // the sector behind the bootloader: images begin at 0x0800C000
    slot: None,
    seal: None,
};
