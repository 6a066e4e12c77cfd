//! Writing to the terminal without ever holding up the run.
//!
//! A thread of its own writes, because a terminal may stop taking text (Ctrl-S, a pager, a slow line) and boards
//! must not wait for it. Frames are drawn over the one before; a frame that would have to wait is not drawn. The
//! cursor stays visible and below the frame, so that there is nothing to restore after Ctrl-C, a panic or a kill.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use terminal_size::{Height, Width, terminal_size_of};

use super::text::width;

/// Columns and lines of a terminal that does not tell its size.
const USUAL: (usize, usize) = (80, 24);

/// Columns and lines of the terminal at stderr.
pub(super) fn stderr_size() -> (usize, usize) {
    or_usual(terminal_size_of(std::io::stderr()))
}

/// Columns and lines of the terminal at stdout.
pub(super) fn stdout_size() -> (usize, usize) {
    or_usual(terminal_size_of(std::io::stdout()))
}

fn or_usual(size: Option<(Width, Height)>) -> (usize, usize) {
    size.map(|(w, h)| (usize::from(w.0), usize::from(h.0))).filter(|&(w, h)| w > 0 && h > 0).unwrap_or(USUAL)
}

/// Text on its way to stderr.
pub(super) struct Screen {
    sender: Option<Sender<String>>,
    writer: Option<JoinHandle<()>>,
    waiting: Arc<AtomicUsize>,
    /// Columns of each line of the frame that is on the screen.
    drawn: Vec<usize>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel::<String>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&waiting);
        let writer = std::thread::spawn(move || {
            for text in receiver {
                crate::out::screen(&text);
                written.fetch_sub(1, Ordering::Release);
            }
        });
        Self { sender: Some(sender), writer: Some(writer), waiting, drawn: Vec::new() }
    }

    /// Whether everything handed over so far is written.
    pub(super) fn is_ready(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.send(format!("{text}\n"));
    }

    /// Draws a frame over the one before.
    pub(super) fn draw(&mut self, frame: &[String], columns: usize) {
        let text = redraw(&self.drawn, frame, columns);
        self.drawn = frame.iter().map(|l| width(l)).collect();
        self.send(text);
    }

    /// Waits until everything is written.
    pub(super) fn close(mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing more to write.
            _ = writer.join();
        }
    }

    fn send(&mut self, text: String) {
        if let Some(sender) = &self.sender {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            // Fails only if the writer is gone; then nobody is watching.
            _ = sender.send(text);
        }
    }
}

/// What to write so that `frame` replaces lines of these widths, on a terminal that may have become narrower and
/// has then broken them. One piece of text, so that a terminal shows no half frame (DEC private mode 2026).
fn redraw(drawn: &[usize], frame: &[String], columns: usize) -> String {
    let rows: usize = drawn.iter().map(|wide| wide.div_ceil(columns.max(1)).max(1)).sum();
    let mut text = String::from("\x1b[?2026h\r");
    if rows > 0 {
        text.push_str(&format!("\x1b[{rows}A"));
    }
    for line in frame {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J\x1b[?2026l");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_goes_where_the_cursor_is_and_the_next_over_it() {
        let frame = ["a".to_owned(), "bc".to_owned()];
        assert_eq!(redraw(&[], &frame, 80), "\x1b[?2026h\ra\x1b[K\nbc\x1b[K\n\x1b[J\x1b[?2026l");
        assert!(redraw(&[1, 2], &frame, 80).starts_with("\x1b[?2026h\r\x1b[2Aa\x1b[K\n"));
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_drawn_over_too() {
        assert!(redraw(&[79, 0, 30], &[], 40).starts_with("\x1b[?2026h\r\x1b[4A\x1b[J"));
    }
}
