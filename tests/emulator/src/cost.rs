//! What a block of Thumb code costs: instructions and processor cycles.
//!
//! Model, stated once for every figure this crate prints: the tables of the Cortex-M4 TRM (ARM DDI 0439B, 3.3.1), of which
//! M3's (DDI 0337I, 3.3.1) is taken to be no row slower, and
//! that of the Cortex-M0+ TRM (DDI 0484C, 3.3), at zero wait states, taken pessimistically. A load or store is never pipelined (2), every branch is taken and refills in P = 3 (M0+: 1), a divide
//! takes 12. So emulated code is never faster than the chip's, and a budget kept here is kept there.

use crate::soc::Core;

/// Cost of a stretch of code that runs from its first to its last instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) instructions: u32,
    pub(crate) cycles: u32,
}

/// Refill of the pipeline after a branch.
const REFILL: u32 = 3;
/// The same of M0+, and what each of its few wide instructions takes: BL, MRS, MSR, barriers.
const M0_REFILL: u32 = 1;
const M0_WIDE: u32 = 3;

/// Cost of `code`, little-endian Thumb, on this core.
pub(crate) fn block(code: &[u8], core: Core) -> Cost {
    let m0 = core == Core::M0Plus;
    let refill = if m0 { M0_REFILL } else { REFILL };
    let mut halves = code.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b));
    let mut cost = Cost::default();
    while let Some(first) = halves.next() {
        cost.instructions += 1;
        cost.cycles += match first >> 11 {
            0b11101..=0b11111 => {
                let second = halves.next().unwrap_or(0);
                if m0 { M0_WIDE } else { wide(first, second) }
            }
            _ => narrow(first, refill),
        };
    }
    cost
}

fn narrow(op: u16, refill: u32) -> u32 {
    let count = u32::from(op & 0xFF).count_ones();
    match op >> 12 {
        // BX, BLX; ADD and MOV to PC
        0x4 if op >> 8 == 0x47 || (op >> 8 & 0b1101 == 0b0100 && op & 0x87 == 0x87) => 1 + refill,
        // LDR literal; register offset; immediate offset; half-word; SP-relative
        0x4 if op >> 11 == 0b01001 => 2,
        0x5..=0x9 => 2,
        0xB => match op >> 8 & 0xF {
            0x4 | 0x5 => 1 + count + u32::from(op >> 8 & 1),
            0xC => 1 + count,
            0xD => 1 + count + 1 + refill,
            // CBZ, CBNZ
            0x1 | 0x3 | 0x9 | 0xB => 1 + refill,
            _ => 1,
        },
        0xC => 1 + count,
        0xD | 0xE => 1 + refill,
        _ => 1,
    }
}

fn wide(first: u16, second: u16) -> u32 {
    let to_pc = |register: u16| if register == 15 { REFILL } else { 0 };
    match first >> 9 {
        // LDM, STM
        0x74 if first & 0x40 == 0 => {
            let loads_pc = first & 0x10 != 0 && second & 0x8000 != 0;
            1 + u32::from(second).count_ones() + if loads_pc { REFILL } else { 0 }
        }
        // TBB, TBH; LDRD, STRD, exclusives
        0x74 if first & 0xFFF0 == 0xE8D0 && second & 0xFFE0 == 0xF000 => 2 + REFILL,
        0x74 => 3,
        // Floating point and coprocessors: transfers, VLDM, VDIV
        0x76 | 0x77 if first & 0xFFB0 == 0xEE80 => 14,
        0x76 | 0x77 if first & 0xFE00 == 0xEC00 => 1 + u32::from(second & 0xFF).max(1),
        0x76 | 0x77 => 2,
        // Branches and miscellaneous control, where the second half has bit 15; plain immediates else
        0x78..=0x7B if second & 0x8000 != 0 => 1 + REFILL,
        // Single loads and stores
        0x7C if first & 0x10 != 0 => 2 + to_pc(second >> 12),
        0x7C => 2,
        // Multiplies and divides
        0x7D if first & 0xFFD0 == 0xFB90 => 12,
        0x7D if first & 0xFF00 == 0xFB00 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(halves: &[u16]) -> (u32, u32) {
        cycles_of(Core::M4, halves)
    }

    fn cycles_of(core: Core, halves: &[u16]) -> (u32, u32) {
        let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
        let Cost { instructions, cycles } = block(&bytes, core);
        (instructions, cycles)
    }

    #[test]
    fn instructions_cost_what_the_trm_says() {
        assert_eq!(cycles(&[0x1C40]), (1, 1), "adds r0, #1");
        assert_eq!(cycles(&[0x6808]), (1, 2), "ldr r0, [r1]");
        assert_eq!(cycles(&[0xB570]), (1, 5), "push {{r4-r6, lr}}: 1 + 4");
        assert_eq!(cycles(&[0xBD70]), (1, 8), "pop {{r4-r6, pc}}: 1 + 4 + P");
        assert_eq!(cycles(&[0xD1FE]), (1, 4), "bne: 1 + P");
        assert_eq!(cycles(&[0x4770]), (1, 4), "bx lr");
        assert_eq!(cycles(&[0xF000, 0xF800]), (1, 4), "bl");
        assert_eq!(cycles(&[0xFBB0, 0xF0F1]), (1, 12), "udiv r0, r0, r1");
        assert_eq!(cycles(&[0xE8BD, 0x8070]), (1, 8), "ldmia sp!, {{r4-r6, pc}}");
        assert_eq!(cycles(&[0xE9D0, 0x1200]), (1, 3), "ldrd r1, r2, [r0]");
        assert_eq!(cycles(&[0xF8D0, 0x0004]), (1, 2), "ldr.w r0, [r0, #4]");
        assert_eq!(cycles(&[0x1C40, 0x6808, 0xD1FE]), (3, 7), "a block");
        assert_eq!(cycles_of(Core::M0Plus, &[0x1C40, 0x6808, 0xD1FE]), (3, 5), "a branch of M0+ takes 2");
        assert_eq!(cycles_of(Core::M0Plus, &[0xBD70]), (1, 6), "pop {{r4-r6, pc}}: 3 + 3");
        assert_eq!(cycles_of(Core::M0Plus, &[0xF000, 0xF800]), (1, 3), "bl");
    }
}
