//! Bytes in both directions over a descriptor that never blocks: what serial adapters and TCP have in common.
//!
//! What the system does not take at once is kept and handed on in order. An end of file is an error: the peer or
//! the adapter is gone.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// A byte stream.
pub(crate) struct Pipe {
    io: Box<dyn AsFd + Send>,
    out: VecDeque<u8>,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("fd", &self.io.as_fd()).field("out", &self.out.len()).finish()
    }
}

impl Pipe {
    pub(crate) fn new(io: Box<dyn AsFd + Send>) -> io::Result<Self> {
        fcntl_setfl(&*io, fcntl_getfl(&*io)? | OFlags::NONBLOCK)?;
        Ok(Self { io, out: VecDeque::new() })
    }

    /// Bytes that the system has not taken yet.
    pub(crate) fn pending(&self) -> usize {
        self.out.len()
    }

    /// Throws away what the system has not taken yet.
    pub(crate) fn discard(&mut self) {
        self.out.clear();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.extend(bytes);
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match rustix::io::write(&*self.io, self.out.as_slices().0) {
                Ok(count) => _ = self.out.drain(..count),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// How many bytes came; 0 for none now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&*self.io, buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}
