//! What differs between two boards with the same chip: pins, crystal, CAN instance, straps. A board file is one
//! constant of type [`Board`]; nothing else has to be touched to fit the firmware to a product.

/// A pin, such as `Pin::new(b'B', 13)` for PB13.
#[derive(Clone, Copy)]
pub struct Pin {
    /// Port, 0 for A.
    pub(crate) port: u32,
    /// Number within the port.
    pub(crate) number: u32,
}

impl Pin {
    /// Pin `number` of port `port` (a letter).
    #[must_use]
    pub const fn new(port: u8, number: u32) -> Self {
        assert!(port >= b'A' && port <= b'K' && number < 16, "no such pin");
        Self { port: (port - b'A') as u32, number }
    }
}

/// Where the processor's clock comes from.
#[derive(Clone, Copy)]
pub enum ClockSource {
    /// The internal oscillator, without PLL: F4, G4 and G0 16 MHz, F1 8 MHz. Good within about 1 % at room
    /// temperature, which is enough for a bench, not for a production bus (ISO 11898-1 asks for about 0.5 %).
    Internal,
    /// A crystal of so many MHz, and the PLL. If it does not start, the PLL runs from the internal oscillator.
    Crystal {
        /// Its frequency in MHz, an even number from 4 to 26 (F1: 8).
        mhz: u32,
    },
}

/// The CAN controller and its pins.
#[derive(Clone, Copy)]
pub struct Can {
    /// 1, or 2 where the chip has two (F405: the ROM bootloader's is 2).
    pub instance: u8,
    /// Receive pin.
    pub rx: Pin,
    /// Transmit pin.
    pub tx: Pin,
    /// Alternate function of both pins (datasheet); F1: value of AFIO_MAPR's CAN_REMAP field.
    pub alternate: u32,
    /// Bits per second; with FD those of the arbitration phase.
    pub bitrate: u32,
    /// Bits per second of FD's data phase; 0: frames of eight bytes only.
    pub data_bitrate: u32,
}

/// The UART that carries the byte-stream framing (8N1), for recovery.
#[derive(Clone, Copy)]
pub struct Usart {
    /// Receive pin of USART1.
    pub rx: Pin,
    /// Transmit pin of USART1.
    pub tx: Pin,
    /// Alternate function of both pins; F1: ignored.
    pub alternate: u32,
    /// Bits per second.
    pub baud: u32,
}

/// An input that keeps the board in its bootloader.
#[derive(Clone, Copy)]
pub struct StayPin {
    /// The pin; it is pulled to the other level.
    pub pin: Pin,
    /// The level that means "stay".
    pub high: bool,
}

/// One board.
pub struct Board {
    /// What the board calls itself, told in Info.
    pub hardware_revision: u16,
    /// Clock.
    pub clock: ClockSource,
    /// CAN.
    pub can: Can,
    /// UART.
    pub usart: Usart,
    /// Address straps, lowest bit first; pulled up, so an open strap reads 1. Empty: none.
    pub straps: &'static [Pin],
    /// The boot pin, if there is one.
    pub stay: Option<StayPin>,
    /// Lit while the bootloader or agent runs.
    pub led: Option<Pin>,
    /// How long a bootloader with a valid application listens for a host after a start.
    pub start_window_ms: u32,
    /// Start the independent watchdog. Once started nothing stops it: the application must feed it too. A
    /// watchdog that the option bytes started is fed in any case.
    pub watchdog: bool,
    /// Address in the erase unit that holds the board's identity region, if the product keeps one apart: no update erases
    /// it, and no image may lie in it.
    pub identity: Option<u32>,
    /// First address of the second slot, that of an erase unit, if the product has room for one: an application is kept until
    /// the image that replaces it is committed. It ends at the records; what lies below it is the place of images.
    pub slot: Option<u32>,
    /// The product's public key (Ed25519): the bootloader takes only images that are sealed with it. F4 and G4.
    pub seal: Option<[u8; 32]>,
}

/// A key for examples: that of RFC 8032, 7.1, test 1, whose secret half everybody knows. A product has its own.
pub const EXAMPLE_KEY: [u8; 32] = [
    0xD7, 0x5A, 0x98, 0x01, 0x82, 0xB1, 0x0A, 0xB7, 0xD5, 0x4B, 0xFE, 0xD3, 0xC9, 0x64, 0x07, 0x3A, 0x0E,
    0xE1, 0x72, 0xF3, 0xDA, 0xA6, 0x23, 0x25, 0xAF, 0x02, 0x1A, 0x68, 0xF7, 0x07, 0x51, 0x1A,
];
