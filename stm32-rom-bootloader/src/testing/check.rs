//! What a session may send: commands its operation has use for, writes and erases of its plan.
//!
//! The checker sees frames as the session means them, each `Transmit` as one, and knows nothing of how the
//! session makes them. It does not judge filler and sync bytes, which change nothing.

use crate::frame::Frame;
use crate::plan::{Erasing, Plan};

/// What a session may send. It sees frames as the session means them: each `Transmit` is one.
pub(super) struct Check<'p> {
    plan: &'p Plan,
    pub(super) allowed: Vec<u8>,
    pub(super) may_erase_all: bool,
    /// Units that may be erased.
    pub(super) units: Vec<u16>,
    pub(super) code: Option<u8>,
    address: Option<u32>,
    /// Data bytes a CAN write may still send, entries a CAN erase list still has.
    left: usize,
    /// The count of the last CAN erase.
    count: u8,
    pub(super) changes: u32,
}

impl<'p> Check<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            allowed: Vec::new(),
            may_erase_all: plan.erase() == Erasing::Everything,
            units: plan.units().iter().map(|unit| unit.index).collect(),
            code: None,
            address: None,
            left: 0,
            count: 0,
            changes: 0,
        }
    }

    pub(super) fn uart(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.iter().all(|byte| *byte >= 0xF0) || bytes == [0x7F] {
            return Ok(());
        }
        match (self.code, self.address, bytes) {
            (Some(0x43), _, [0xFF, 0x00]) => self.erase_all()?,
            // The length of a read looks like a command. If it is one, because the read was refused, its
            // arguments follow; if not, the next command does.
            (Some(0x11), Some(_), [code, check]) if *check == !code => {
                (self.code, self.address) = (Some(*code), None)
            }
            (_, _, [code, check]) if *check == !code => self.command(*code)?,
            (Some(0x31), Some(address), [len, data @ .., _]) => {
                if data.len() != usize::from(*len) + 1 {
                    return Err(format!("a write of {} bytes says {len}", data.len()));
                }
                self.write(address, data.len() as u32)?;
                self.code = None;
            }
            (Some(0x11 | 0x21 | 0x31), None, [a, b, c, d, _]) => {
                self.address = Some(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            (Some(0x44), _, [0xFF, 0xFF, 0x00]) => self.erase_all()?,
            (Some(0x44), _, [_, _, pages @ .., _]) => {
                let pages = pages.as_chunks::<2>().0;
                pages.iter().try_for_each(|page| self.erase(u16::from_be_bytes(*page)))?;
            }
            (Some(0x43), _, [_, pages @ .., _]) => {
                pages.iter().try_for_each(|page| self.erase((*page).into()))?
            }
            (code, _, bytes) => return Err(format!("{bytes:02x?} after command {code:02x?}")),
        }
        Ok(())
    }

    pub(super) fn can(&mut self, frame: &Frame) -> Result<(), String> {
        let data = frame.data();
        match (frame.id(), self.code) {
            (0x79, _) if data.is_empty() => self.left = 0,
            (0x04, _) if data.iter().all(|byte| *byte == 0xFF) => {}
            (0x04, Some(0x31)) if self.left > 0 => self.left = self.left.saturating_sub(data.len()),
            // The count once more, because it was refused; a list over FD has 64 bytes.
            (0x43, Some(0x43)) if self.left > 0 && data == [self.count] => {}
            (0x43 | 0x44, Some(0x43 | 0x44)) if self.left > 0 && (data.len() != 2 || !frame.is_fd()) => {
                let fd = frame.is_fd();
                let pages: Vec<u16> = if fd {
                    data.as_chunks::<2>().0.iter().map(|page| u16::from_be_bytes(*page)).collect()
                } else {
                    data.iter().map(|page| u16::from(*page)).collect()
                };
                self.left = 0;
                pages.into_iter().try_for_each(|page| self.erase(page))?;
            }
            (id, _) => {
                let code = u8::try_from(id).map_err(|_| format!("identifier {id:#x}"))?;
                self.command(code)?;
                self.can_arguments(code, data, frame.is_fd())?;
            }
        }
        Ok(())
    }

    fn can_arguments(&mut self, code: u8, data: &[u8], fd: bool) -> Result<(), String> {
        match (code, data) {
            (0x31, [a, b, c, d, len]) => {
                self.left = usize::from(*len) + 1;
                self.write(u32::from_be_bytes([*a, *b, *c, *d]), u32::from(*len) + 1)
            }
            (0x44, [0xFF, 0xFF]) | (0x43, [0xFF]) => self.erase_all(),
            (0x44, [_, _]) if fd => {
                self.left = 1;
                Ok(())
            }
            (0x43, [count]) => {
                (self.left, self.count) = (1, *count);
                Ok(())
            }
            (0x31 | 0x43 | 0x44, data) => Err(format!("command {code:#04x} with {data:02x?}")),
            _ => Ok(()),
        }
    }

    fn command(&mut self, code: u8) -> Result<(), String> {
        (self.code, self.address, self.left) = (Some(code), None, 0);
        if self.allowed.contains(&code) {
            Ok(())
        } else {
            Err(format!("command {code:#04x} has no use here"))
        }
    }

    fn write(&mut self, address: u32, len: u32) -> Result<(), String> {
        self.changes += 1;
        let voltage = address == 0xFFFF_0000 && len == 4 && self.plan.voltage().is_some();
        if voltage || self.plan.allows_write(address, len) {
            Ok(())
        } else {
            Err(format!("write of {len} bytes at {address:#010x} is outside the plan"))
        }
    }

    fn erase(&mut self, unit: u16) -> Result<(), String> {
        self.changes += 1;
        if self.units.contains(&unit) {
            Ok(())
        } else {
            Err(format!("erase of unit {unit} is outside the plan"))
        }
    }

    fn erase_all(&mut self) -> Result<(), String> {
        self.changes += 1;
        if self.may_erase_all { Ok(()) } else { Err("mass erase is outside the plan".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::image::{Image, Region};
    use crate::plan::{EraseChoice, PlanOptions};

    fn plan() -> Plan {
        let image = Image::new([Region { address: 0x0800_0400, data: &[1; 300] }]).unwrap();
        let options = PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() };
        Plan::new(Device::find(0x440, None).unwrap(), &image, &options).unwrap()
    }

    fn uart(frames: &[&[u8]]) -> Result<(), String> {
        let plan = plan();
        let mut check = Check::new(&plan);
        check.allowed = vec![0x31, 0x43, 0x44, 0x11];
        frames.iter().try_for_each(|frame| check.uart(frame))
    }

    #[test]
    fn what_the_plan_has_is_allowed_and_everything_else_is_not() {
        let inside: &[u8] = &[0x08, 0x00, 0x04, 0x00, 0x0C];
        let outside: &[u8] = &[0x08, 0x00, 0x03, 0xFC, 0xF7];
        let eight: &[u8] = &[7, 1, 2, 3, 4, 5, 6, 7, 8, 0x0F];
        assert_eq!(uart(&[&[0x31, 0xCE], inside, eight]), Ok(()));
        assert!(uart(&[&[0x31, 0xCE], outside, eight]).is_err());
        assert_eq!(uart(&[&[0x44, 0xBB], &[0, 0, 0, 1, 1]]), Ok(()));
        assert!(uart(&[&[0x44, 0xBB], &[0, 1, 0, 1, 0, 2, 2]]).is_err());
        assert!(uart(&[&[0x44, 0xBB], &[0xFF, 0xFF, 0x00]]).is_err());
        assert!(uart(&[&[0x43, 0xBC], &[0xFF, 0x00]]).is_err());
        assert!(uart(&[&[0x43, 0xBC], &[0, 9, 9]]).is_err());
        assert!(uart(&[&[0x92, 0x6D]]).is_err());
        assert!(uart(&[&[0x01, 0x02, 0x03]]).is_err());
    }

    #[test]
    fn the_same_holds_for_can() {
        let plan = plan();
        let can = |frames: &[(u16, &[u8])]| {
            let mut check = Check::new(&plan);
            check.allowed = vec![0x31, 0x43, 0x44];
            frames.iter().try_for_each(|(id, data)| check.can(&Frame::classic(*id, data).unwrap()))
        };
        assert_eq!(can(&[(0x31, &[8, 0, 4, 0, 7]), (0x04, &[1; 8])]), Ok(()));
        assert!(can(&[(0x31, &[8, 0, 3, 0, 7])]).is_err());
        assert_eq!(can(&[(0x43, &[0]), (0x43, &[1])]), Ok(()));
        assert!(can(&[(0x43, &[0]), (0x43, &[2])]).is_err());
        assert!(can(&[(0x43, &[0xFF])]).is_err());
        assert!(can(&[(0x82, &[])]).is_err());
    }
}
