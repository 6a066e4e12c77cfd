//! Protocol version: one number, a rule and two constants.
//!
//! Rule: a message's layout never changes and an opcode is never used again; new things get new opcodes, new
//! reply kinds or bytes after the ones a version knows, and readers ignore bytes they do not know. A node
//! answers a `Discover` whose range holds its own version and stays silent otherwise; it tells the version in
//! its `Info`. Golden bytes per version are in `tests/golden/`: a failing one means the code is wrong, not the
//! file.

/// The oldest version this crate understands.
pub const MIN: u8 = 1;
/// The version this crate speaks.
pub const CURRENT: u8 = 1;
