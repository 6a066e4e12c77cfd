// Reference board with STM32F405: no crystal, and the pins that the ROM bootloader uses too (AN2606: CAN2 on
// PB5 and PB13, USART1 on PA9 and PA10), so that a blank board can be programmed in every way.
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
    seal: None,
};
