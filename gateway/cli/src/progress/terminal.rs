//! Draws frames over one another on a terminal.
//!
//! Frames and the size of the terminal come in, control sequences go out. The cursor rests below the
//! last line, so that whatever else is printed comes after the screen.

use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show};
use crossterm::queue;
use crossterm::style::{Print, ResetColor, SetForegroundColor};
use crossterm::terminal::{Clear, ClearType};
use std::io;
use unicode_width::UnicodeWidthStr;

use super::colours::{Palette, Tone};
use super::screen::{Frame, Size};

/// Knows what is on the screen.
#[derive(Debug)]
pub(crate) struct Canvas {
    palette: Palette,
    drawn: Frame,
    started: bool,
}

impl Canvas {
    /// A canvas at the cursor.
    pub(crate) fn new(palette: Palette) -> Self {
        Self { palette, drawn: Frame::default(), started: false }
    }

    /// The sequences that replace what was drawn by `frame`; nothing if it is the same.
    pub(crate) fn draw(&mut self, frame: Frame, size: Size) -> Vec<u8> {
        if self.started && frame == self.drawn {
            return Vec::new();
        }
        let mut out = Vec::new();
        // Queueing into memory cannot fail.
        self.queue_frame(&mut out, &frame, size).ok();
        self.drawn = frame;
        self.started = true;
        out
    }

    /// Text in the colour of a tone, to follow the last frame.
    pub(crate) fn paint(&self, text: &str, tone: Tone) -> Vec<u8> {
        let mut out = Vec::new();
        match self.palette.colour(tone) {
            Some(colour) => queue!(out, SetForegroundColor(colour), Print(text), ResetColor).ok(),
            None => queue!(out, Print(text)).ok(),
        };
        out
    }

    /// The sequences that give the cursor back.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.started {
            queue!(out, Show).ok();
        }
        out
    }

    fn queue_frame(&self, out: &mut Vec<u8>, frame: &Frame, size: Size) -> io::Result<()> {
        if self.started {
            let rows = self.rows_now(size).min(size.rows.saturating_sub(1));
            if let Some(up) = u16::try_from(rows).ok().filter(|up| *up > 0) {
                queue!(out, MoveUp(up))?;
            }
        } else {
            queue!(out, Hide)?;
        }
        queue!(out, MoveToColumn(0))?;
        for line in &frame.lines {
            match self.palette.colour(line.tone) {
                Some(colour) => {
                    queue!(out, SetForegroundColor(colour), Print(&line.text), ResetColor)?;
                }
                None => queue!(out, Print(&line.text))?,
            }
            queue!(out, Clear(ClearType::UntilNewLine), Print("\r\n"))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))
    }

    /// How many rows the drawn lines fill now: a terminal that became narrower wrapped them.
    fn rows_now(&self, size: Size) -> usize {
        let columns = size.columns.max(1);
        self.drawn.lines.iter().map(|line| line.text.width().div_ceil(columns).max(1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::FrameLine;
    use super::*;

    const SIZE: Size = Size { columns: 20, rows: 10 };

    fn frame(texts: &[&str]) -> Frame {
        let line = |text: &&str| FrameLine { text: (*text).to_owned(), tone: Tone::Error };
        Frame { lines: texts.iter().map(line).collect() }
    }

    fn drawn(canvas: &mut Canvas, texts: &[&str], size: Size) -> String {
        String::from_utf8(canvas.draw(frame(texts), size)).unwrap().replace('\u{1b}', "^")
    }

    #[test]
    fn a_frame_replaces_the_one_before() {
        let mut canvas = Canvas::new(Palette::MONOCHROME);
        assert_eq!(drawn(&mut canvas, &["a", "b"], SIZE), "^[?25l^[1Ga^[K\r\nb^[K\r\n^[J");
        assert_eq!(drawn(&mut canvas, &["a", "b"], SIZE), "");
        assert_eq!(drawn(&mut canvas, &["c"], SIZE), "^[2A^[1Gc^[K\r\n^[J");
        assert_eq!(canvas.finish(), b"\x1b[?25h");
    }

    #[test]
    fn a_narrower_terminal_wrapped_what_was_drawn() {
        let mut canvas = Canvas::new(Palette::MONOCHROME);
        drawn(&mut canvas, &["0123456789", "x"], SIZE);
        let narrow = Size { columns: 4, rows: 10 };
        assert!(drawn(&mut canvas, &["y"], narrow).starts_with("^[4A"));
    }

    #[test]
    fn tones_are_coloured() {
        let mut canvas = Canvas::new(Palette::default());
        assert_eq!(drawn(&mut canvas, &["a"], SIZE), "^[?25l^[1G^[38;5;1ma^[0m^[K\r\n^[J");
    }
}
