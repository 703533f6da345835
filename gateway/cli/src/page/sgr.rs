//! Colours of a process's output: sequences for terminals come in, spans go out.

use std::iter::once;

use super::html::Html;

/// A style by the classes that stand for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    dim: bool,
    /// One of sixteen colours.
    colour: Option<u8>,
}

/// The names of the classes of colours.
const COLOURS: [&str; 16] = [
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14",
    "c15",
];

/// Writes a line that has no control characters but tabs and sequences for colours.
pub(super) fn line(text: &str, html: &mut Html) {
    let mut style = Style::default();
    for (n, piece) in text.split('\u{1b}').enumerate() {
        let (codes, rest) = match piece.strip_prefix('[').and_then(|piece| piece.split_once('m')) {
            Some((codes, rest)) if n > 0 => (Some(codes), rest),
            _ => (None, piece),
        };
        if let Some(codes) = codes {
            style.apply(codes);
        }
        style.write(rest, html);
    }
}

impl Style {
    fn apply(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| code.parse::<u8>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                22 => (self.bold, self.dim) = (false, false),
                30..=37 => self.colour = Some(code - 30),
                90..=97 => self.colour = Some(code - 82),
                39 => self.colour = None,
                // Of the larger palettes only the first sixteen are known here.
                38 | 48 => {
                    let palette = codes.next();
                    let skipped = if palette == Some(2) { 3 } else { 1 };
                    let last = codes.by_ref().take(skipped).last();
                    if (code, palette) == (38, Some(5)) {
                        self.colour = last.filter(|colour| *colour < 16);
                    }
                }
                _ => {}
            }
        }
    }

    fn write(self, text: &str, html: &mut Html) {
        if text.is_empty() {
            return;
        }
        if self == Self::default() {
            return html.text(text);
        }
        let colour = self.colour.and_then(|colour| COLOURS.get(usize::from(colour)));
        let classes = once(self.bold.then_some("b")).chain(once(self.dim.then_some("d")));
        let classes: Vec<&str> = classes.flatten().chain(colour.copied()).collect();
        html.span("span", &classes.join(" "), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut html = Html::default();
        line(text, &mut html);
        html.finish()
    }

    #[test]
    fn colours_become_classes() {
        let text = "a\u{1b}[1;31mb<\u{1b}[0mc\u{1b}[38;5;12md\u{1b}[38;2;1;2;3me";
        assert_eq!(
            shown(text),
            "a<span class=\"b c1\">b&lt;</span>c<span class=\"c12\">d</span><span class=\"c12\">e</span>"
        );
        assert_eq!(shown("[3m]\u{1b}[m"), "[3m]");
    }
}
