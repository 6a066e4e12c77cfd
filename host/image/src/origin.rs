//! Where a byte came from: the file, and the place in it that a person can look at.
//!
//! Every block of an image keeps its origins, so that an overlap or data outside the flash is reported as
//! "app.hex line 812", not as a bare address.

use std::fmt;
use std::sync::Arc;

/// The source of a run of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The display name of the file, as the caller gave it. Empty for [`Place::Fill`].
    pub file: Arc<str>,
    /// The place in that file.
    pub place: Place,
}

/// A place in an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A raw binary: the whole file.
    Whole,
    /// A line of a text format, counted from 1.
    Line(u32),
    /// A program header of an ELF file, counted from 0 as `readelf -l` prints them.
    Segment(u16),
    /// No file at all: a gap filled by [`Image::fill`](crate::Image::fill).
    Fill,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Whole => write!(f, "{}", self.file),
            Place::Line(line) => write!(f, "{} line {line}", self.file),
            Place::Segment(index) => write!(f, "{} segment {index}", self.file),
            Place::Fill => f.write_str("a filled gap"),
        }
    }
}
