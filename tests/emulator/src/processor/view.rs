//! The flash as unicorn's code sees it: memory of this process, mapped without permission to write.
//!
//! unicorn's own way to change memory that code may not write maps it anew each time, which took four fifths of a run.
//! Invariant: unicorn, which keeps the pointer, is dropped before the memory is (fields drop in order), and nothing
//! writes here while it runs.
#![expect(unsafe_code, reason = "memory shared with unicorn")]

use std::cell::UnsafeCell;

use unicorn_engine::Unicorn;
use unicorn_engine::unicorn_const::{Permission, uc_error};

const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; PAGE]>);

/// The memory.
pub(super) struct View {
    pages: Box<[Page]>,
    base: u32,
}

impl View {
    /// Memory of so many bytes, whole pages, mapped from `base` on.
    pub(super) fn map<D>(uc: &mut Unicorn<'static, D>, base: u32, size: usize) -> Result<Self, uc_error> {
        let pages: Box<[Page]> = (0..size / PAGE).map(|_| Page(UnsafeCell::new([0xFF; PAGE]))).collect();
        let memory = pages.as_ptr().cast_mut().cast();
        // SAFETY: the pages lie one behind the other, are changed through the cells alone, and outlive unicorn.
        unsafe { uc.mem_map_ptr(base.into(), size, Permission::READ | Permission::EXEC, memory)? };
        Ok(Self { pages, base })
    }

    /// Bytes of the page that begins `n` pages after the first.
    fn page(&mut self, n: usize) -> &mut [u8; PAGE] {
        self.pages[n].0.get_mut()
    }

    /// Puts bytes there; true if that changed any. What unicorn has translated of them is its caller's to forget.
    pub(super) fn put(&mut self, address: u32, bytes: &[u8]) -> bool {
        let mut at = (address - self.base) as usize;
        let (mut rest, mut changed) = (bytes, false);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(PAGE - at % PAGE));
            let place = &mut self.page(at / PAGE)[at % PAGE..at % PAGE + part.len()];
            if place != part {
                place.copy_from_slice(part);
                changed = true;
            }
            (at, rest) = (at + part.len(), behind);
        }
        changed
    }
}
