//! Short cuts shared by the tests.

use core::time::Duration;

use stm32_rom_bootloader::testing::{Quirks, Run, ToyUart, UartLink, run_uart};
use stm32_rom_bootloader::{Device, Operation, UartSession, UartSettings};

/// The first row with a product ID.
pub(crate) fn device(product_id: u16) -> &'static Device {
    Device::find(product_id, None).unwrap()
}

/// The row of a ROM version.
pub(crate) fn find(product_id: u16, bootloader_id: u16) -> &'static Device {
    let device = Device::find(product_id, Some(bootloader_id)).unwrap();
    assert_eq!(device.bootloader_id, Some(bootloader_id));
    device
}

/// A blank chip.
pub(crate) fn toy(product_id: u16, quirks: Quirks) -> ToyUart {
    ToyUart::new(device(product_id), quirks)
}

/// Runs an operation at 115200 baud without lines, from power-on.
pub(crate) fn run<'a, O: Operation<'a>>(operation: O, toy: &mut ToyUart) -> Run<O::Outcome>
where
    O::Outcome: 'a,
{
    run_on(operation, toy, &UartLink::new(115_200))
}

/// Runs an operation on a link, from power-on; with lines, the session starts with a reset.
pub(crate) fn run_on<'a, O: Operation<'a>>(
    operation: O,
    toy: &mut ToyUart,
    link: &UartLink,
) -> Run<O::Outcome>
where
    O::Outcome: 'a,
{
    let mut settings = UartSettings::new(link.baud);
    settings.latency = link.latency;
    if link.lines {
        settings.entry = stm32_rom_bootloader::Entry::Reset;
    }
    let mut session = UartSession::new(operation, settings, Duration::ZERO);
    run_uart(&mut session, toy, link, Duration::ZERO)
}
