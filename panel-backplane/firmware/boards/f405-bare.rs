// The least a board with STM32F405 needs: no crystal, no boot pin, no LED. Runs in QEMU (netduinoplus2) too, whose pins all
// read low.
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
    stay: None,
    led: None,
    start_window_ms: 300,
    watchdog: false,
    identity: None,
    slot: None,
    seal: None,
};
