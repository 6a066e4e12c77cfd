// The reference board (f405.rs) with a second slot: it keeps its application until the image that replaces it is committed.
// Images of 352 KiB at most; sector 10 keeps the newest record while the records are erased.
mod reference {
    use super::*;
    include!("f405.rs");
}
pub(crate) const BOARD: Board = Board { slot: Some(0x0806_0000), ..reference::BOARD };
