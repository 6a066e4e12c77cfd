// The reference board (f405.rs) for a product whose images are sealed. The key is an example: put your own here.
mod reference {
    use super::*;
    include!("f405.rs");
}
pub(crate) const BOARD: Board = Board { seal: Some(EXAMPLE_KEY), ..reference::BOARD };
