//! What a plan needs to know of a simulated chip, whatever bus it is on.

use rom_simulator::Chip;
use stm32_rom_bootloader::{Device, Image, Plan, PlanOptions, Region};

/// A chip as the device table knows it.
pub(crate) struct Target {
    device: &'static Device,
    bootloader_id: Option<u16>,
    flash_kib: u16,
}

impl Target {
    pub(crate) fn of(chip: &Chip) -> Self {
        let model = chip.model();
        let bootloader_id = model.bootloader_id.map(|(_, id)| u16::from(id));
        let device = Device::find(model.product_id, bootloader_id).expect("in the table");
        Self { device, bootloader_id, flash_kib: (model.flash.size() / 1024) as u16 }
    }

    /// Hands on the plan that writes `data` at `offset` of the flash.
    pub(crate) fn with_plan<T>(
        &self,
        offset: u32,
        data: &[u8],
        options: &PlanOptions,
        run: impl FnOnce(&Plan, &Image<'_>) -> T,
    ) -> T {
        let address = self.device.flash.expect("known").start + offset;
        let image = Image::new([Region { address, data }]).expect("image");
        let (flash_kib, bootloader_id) = (Some(self.flash_kib), self.bootloader_id);
        let options = PlanOptions { flash_kib, bootloader_id, ..options.clone() };
        let plan = Plan::new(self.device, &image, &options).expect("plan");
        run(&plan, &image)
    }
}
