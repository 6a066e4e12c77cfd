//! The front of packed programs: see the library.
#![no_std]
#![no_main]

use panel_firmware as _;
