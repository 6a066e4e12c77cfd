//! The vector table of a Cortex-M program: is this image one, and for the place it is meant for?
//!
//! A program linked for another address or another chip nearly always shows in the first two words
//! (ARMv7-M Architecture Reference Manual, B1.5.3): the initial stack pointer and the reset vector.

use std::ops::Range;

use crate::image::Image;

/// The first two words of a vector table that passed [`VectorTable::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorTable {
    /// The initial stack pointer.
    pub stack: u32,
    /// The address of the first instruction, without the Thumb bit.
    pub reset: u32,
}

/// Why the words at an address are no vector table of a program that could run there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VectorProblem {
    /// The image has no data there.
    #[error("the image has no vector table at {address:#010x}")]
    Missing {
        /// Where it was looked for.
        address: u32,
    },
    /// The stack pointer does not point into RAM, nor just behind it.
    #[error("the initial stack pointer {stack:#010x} is not in the chip's RAM")]
    StackOutsideRam {
        /// The first word.
        stack: u32,
    },
    /// The stack pointer is not a multiple of four.
    #[error("the initial stack pointer {stack:#010x} is not a multiple of 4")]
    StackUnaligned {
        /// The first word.
        stack: u32,
    },
    /// The reset vector's lowest bit is clear: a Cortex-M would fault at once.
    #[error("the reset vector {reset:#010x} has no Thumb bit")]
    NotThumb {
        /// The second word.
        reset: u32,
    },
    /// The reset vector points to where the image has no data: linked for another address, or not a program.
    #[error("the reset vector {reset:#010x} points outside the image")]
    ResetOutsideImage {
        /// The second word.
        reset: u32,
    },
}

impl VectorTable {
    /// Reads the vector table at `address` and holds it against the image itself and the chip's RAM.
    ///
    /// # Errors
    /// The first [`VectorProblem`] found.
    pub fn check(image: &Image, address: u32, ram: &[Range<u32>]) -> Result<Self, VectorProblem> {
        let word = |at: u32| {
            let bytes = image.bytes(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let words = address.checked_add(4).and_then(|next| word(address).zip(word(next)));
        let Some((stack, reset)) = words else { return Err(VectorProblem::Missing { address }) };
        // The stack grows down and is decremented first, so the end of RAM is its usual start.
        if !ram.iter().any(|r| r.start < stack && stack <= r.end) {
            return Err(VectorProblem::StackOutsideRam { stack });
        }
        if stack % 4 != 0 {
            return Err(VectorProblem::StackUnaligned { stack });
        }
        if reset & 1 == 0 {
            return Err(VectorProblem::NotThumb { reset });
        }
        let target = reset & !1;
        if target.checked_add(2).is_none_or(|end| image.bytes(target..end).is_none()) {
            return Err(VectorProblem::ResetOutsideImage { reset });
        }
        Ok(Self { stack, reset: target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: Range<u32> = 0x2000_0000..0x2002_0000;

    fn check(stack: u32, reset: u32) -> Result<VectorTable, VectorProblem> {
        let mut bytes = [stack.to_le_bytes(), reset.to_le_bytes()].concat();
        bytes.extend([0x70, 0x47]);
        let image = Image::from_bin(&bytes, "a", 0x0802_0000).unwrap();
        VectorTable::check(&image, 0x0802_0000, &[RAM])
    }

    #[test]
    fn a_stack_at_the_end_of_ram_and_a_thumb_reset_vector_in_the_image_pass() {
        let table = VectorTable { stack: 0x2002_0000, reset: 0x0802_0008 };
        assert_eq!(check(0x2002_0000, 0x0802_0009), Ok(table));
    }

    #[test]
    fn each_way_of_being_wrong_is_told_apart() {
        let reset = 0x0802_0009;
        let stack = 0x2002_0000;
        assert_eq!(check(0x2002_0004, reset), Err(VectorProblem::StackOutsideRam { stack: 0x2002_0004 }));
        assert_eq!(check(0x2000_0000, reset), Err(VectorProblem::StackOutsideRam { stack: 0x2000_0000 }));
        assert_eq!(check(u32::MAX, reset), Err(VectorProblem::StackOutsideRam { stack: u32::MAX }));
        assert_eq!(check(0x2000_0102, reset), Err(VectorProblem::StackUnaligned { stack: 0x2000_0102 }));
        assert_eq!(check(stack, 0x0802_0008), Err(VectorProblem::NotThumb { reset: 0x0802_0008 }));
        assert_eq!(check(stack, 0x0800_0009), Err(VectorProblem::ResetOutsideImage { reset: 0x0800_0009 }));
        assert_eq!(check(stack, u32::MAX), Err(VectorProblem::ResetOutsideImage { reset: u32::MAX }));
    }

    #[test]
    fn an_image_without_the_eight_bytes_has_no_table() {
        let image = Image::from_bin(&[0; 7], "a", 0x0802_0000).unwrap();
        for address in [0x0802_0000, 0x0800_0000, u32::MAX - 2] {
            assert_eq!(VectorTable::check(&image, address, &[RAM]), Err(VectorProblem::Missing { address }));
        }
    }
}
