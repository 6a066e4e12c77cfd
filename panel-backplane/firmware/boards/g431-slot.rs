// The reference board (g431.rs) with a second slot: it keeps its application until the image that replaces it is committed.
// Images of 46 KiB at most.
mod reference {
    use super::*;
    include!("g431.rs");
}
pub(crate) const BOARD: Board = Board { slot: Some(0x0801_3800), ..reference::BOARD };
