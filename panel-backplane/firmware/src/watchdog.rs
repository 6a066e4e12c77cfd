//! The independent watchdog (RM0090 21, RM0440 42: the same registers).

use crate::regs::Block;

const IWDG: Block = Block::at(0x4000_3000);
const KR: u32 = 0x0;
const PR: u32 = 0x4;
const RLR: u32 = 0x8;
const SR: u32 = 0xC;

/// Starts it: about eight seconds (LSI near 32 kHz or 40 kHz, divided by 64, 4095 counts).
pub(crate) fn start() {
    IWDG.write(KR, 0xCCCC);
    IWDG.write(KR, 0x5555);
    IWDG.write(PR, 4);
    IWDG.write(RLR, 0xFFF);
    IWDG.wait(SR, 0b11, 0);
    feed();
}

/// Feeds it; harmless if it does not run.
pub(crate) fn feed() {
    IWDG.write(KR, 0xAAAA);
}
