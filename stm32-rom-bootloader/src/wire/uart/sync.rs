//! Getting hold of a ROM in any state: not started yet, waiting for its sync byte, synchronised, or inside a
//! command that somebody abandoned.
//!
//! What makes it work:
//! 1. 0x7F goes first, always: a ROM that has not synchronised measures whatever comes first as its baud rate.
//! 2. A synchronised ROM takes 0x7F for half a command; the second one completes it, and it answers NACK.
//! 3. A ROM inside a block swallows bytes until the block is complete, and then answers NACK, because the
//!    checksum is wrong. Filler is taken from 0xF0 to 0xFF: no two of these are a command and its complement, no
//!    four of them are an address of flash, RAM or option bytes, and changing them at random makes a right
//!    checksum unlikely. The first filler byte never occurs in the frame sent last, so that a single lost byte
//!    cannot be replaced by accident.
//! 4. Before filler comes one more 0x7F, because the chip may have been reset while nobody looked.
//! 5. Only a NACK to a single byte after silence proves that the next byte is the start of a command.

use core::time::Duration;

use super::super::{ACK, Connecting, Greeting, NACK};
use super::Uart;
use crate::command::Opcode;
use crate::error::{Fault, Heard};
use crate::event::{Event, Wait};

/// The byte whose bits are measured (AN3155, section 2.1).
const SYNC: u8 = 0x7F;

/// First pause after a sync byte; the ROM answers within 0.4 ms at 115200 baud, 105 ms on an F105 with PA9 high.
const FIRST_INTERVAL: Duration = Duration::from_millis(20);
/// The pause doubles up to this.
const LONGEST_INTERVAL: Duration = Duration::from_millis(250);

/// Sizes of the chunks of filler between which to listen. One or two bytes end a half command and a write needs
/// 257. The large ones are for an Extended Erase that took two sync bytes for its page count and wants 65281.
const FILLER_CHUNKS: [usize; 5] = [1, 1, 1, 32, 257];
const LARGE_CHUNK: usize = 1024;
const LARGE_CHUNKS: usize = 65;

impl Uart {
    pub(crate) async fn connect(&mut self, connecting: Connecting) -> Result<Greeting, Fault> {
        let start = self.port.now();
        if let Some(wait) = connecting.earliest.checked_sub(start).filter(|wait| !wait.is_zero()) {
            self.port.pause(wait, Wait::Startup).await?;
        }
        // A reset leaves garbage behind.
        self.forget_received();
        let mut heard = Heard::default();
        let mut echoes = 0;
        let mut attempts = 0;
        let mut interval = FIRST_INTERVAL + 2 * self.latency;
        while attempts == 0 || self.port.now() < connecting.until {
            attempts += 1;
            self.port.event(Event::Syncing { attempt: attempts });
            self.send(vec![SYNC]);
            let until = self.line_free.max(self.port.now()) + self.time_of(1) + interval;
            while let Some(byte) = self.next(until, Wait::Sync).await? {
                match byte {
                    ACK => return Ok(Greeting::Fresh),
                    NACK => {
                        // More than one sync byte may have been answered.
                        self.silence().await?;
                        return Ok(Greeting::Already);
                    }
                    byte => {
                        heard.note(byte);
                        echoes += u32::from(byte == SYNC);
                        if heard.count as usize > super::FLOOD {
                            return Err(Fault::Flooded { wait: Wait::Sync });
                        }
                    }
                }
            }
            interval = (interval * 2).min(LONGEST_INTERVAL + 2 * self.latency);
        }
        // A ROM inside a command is silent, or answers in words; garbage comes from one at another rate.
        if connecting.abandoned && heard.count < 2 {
            // The large chunks take 6 s at 115200 baud: below half that rate nobody would wait for them.
            let large = if self.baud >= 57_600 { LARGE_CHUNKS } else { 0 };
            match self.realign_with(large).await {
                Ok(_) => return Ok(Greeting::Already),
                Err(Fault::Cancelled) => return Err(Fault::Cancelled),
                Err(_) => {}
            }
        }
        if echoes == attempts && heard.count == echoes {
            return Err(Fault::Echo);
        }
        Err(Fault::NoAnswer { attempts, waited: self.port.now().saturating_sub(start), heard })
    }

    /// Feeds filler until a NACK shows that the ROM is at the start of a command.
    pub(crate) async fn realign(&mut self) -> Result<u32, Fault> {
        // If bytes of a page count were lost, the ROM waits for a list of any length.
        let large = if self.last_code == Opcode::EXTENDED_ERASE { LARGE_CHUNKS } else { 0 };
        self.realign_with(large).await
    }

    async fn realign_with(&mut self, large_chunks: usize) -> Result<u32, Fault> {
        self.silence().await?;
        let start = self.port.now();
        let frame = std::mem::take(&mut self.last_frame);
        let mut sent = 0;
        let chunks = FILLER_CHUNKS.into_iter().chain(std::iter::repeat_n(LARGE_CHUNK, large_chunks));
        for chunk in chunks {
            let answer = self.feed(chunk, &frame, &mut sent).await?;
            if answer.is_none() {
                continue;
            }
            // Something was completed; what of the chunk was left may be half a command.
            let aligned = chunk == 1 && answer == Some(NACK);
            if aligned || self.single_steps(&frame, &mut sent).await? {
                self.port.event(Event::Realigned { filler: sent });
                return Ok(sent);
            }
        }
        Err(Fault::TimedOut { wait: Wait::Realign, after: self.port.now().saturating_sub(start) })
    }

    /// Single bytes until a NACK: two complete any half command, a few more what an ACK left open.
    async fn single_steps(&mut self, frame: &[u8], sent: &mut u32) -> Result<bool, Fault> {
        for _ in 0..8 {
            if self.feed(1, frame, sent).await? == Some(NACK) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends `count` filler bytes (the very first is a sync byte, see above) and returns the last answer to them,
    /// once the line is silent again.
    async fn feed(&mut self, count: usize, frame: &[u8], sent: &mut u32) -> Result<Option<u8>, Fault> {
        let page_count_due = frame == [Opcode::EXTENDED_ERASE.0, !Opcode::EXTENDED_ERASE.0];
        let bytes = if page_count_due && *sent < 3 {
            // 0xFFFF is mass erase, and the third byte is not its checksum: refused at once.
            vec![0xFF]
        } else if *sent == 0 && !frame.contains(&SYNC) {
            vec![SYNC]
        } else {
            (0..count).map(|_| self.next_filler(frame)).collect()
        };
        self.send(bytes);
        *sent += count as u32;
        let mut last = None;
        // Between large chunks there is no need to listen for long: an answer is noticed with the next one.
        let pause = if count == LARGE_CHUNK { self.time_of(4) } else { self.quiet() };
        let mut until = self.line_free.max(self.port.now()) + pause;
        for _ in 0..super::FLOOD {
            match self.next(until, Wait::Realign).await? {
                Some(byte) => last = Some(byte),
                None => return Ok(last),
            }
            until = self.line_free.max(self.port.now()) + self.quiet();
        }
        Err(Fault::Flooded { wait: Wait::Realign })
    }

    /// 0xF0 to 0xFF in no order, and not in `frame` if there is a choice.
    fn next_filler(&mut self, frame: &[u8]) -> u8 {
        for _ in 0..16 {
            // A step of 5 visits all 16 values.
            self.filler = self.filler.wrapping_add(5);
            let byte = 0xF0 | (self.filler & 0x0F);
            if !frame.contains(&byte) {
                return byte;
            }
        }
        self.filler = self.filler.wrapping_add(5);
        0xF0 | (self.filler & 0x0F)
    }
}
