//! Markup, written so that what strangers say stays text.
//!
//! Names of elements and attributes, and whole pieces of markup, are literals of this program; every
//! other text is escaped. Elements are closed by who opened them.

use std::fmt::{Display, Write as _};

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// An attribute with its value.
pub(super) type Attribute<'a> = (&'static str, &'a dyn Display);

/// Elements that have no end.
const VOID: &[&str] = &["meta", "input", "rect", "path"];

impl Html {
    /// Markup of this program.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, text: impl Display) {
        escape(&text.to_string(), &mut self.0);
    }

    /// An element with attributes and what `inside` writes.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            escape(&value.to_string(), &mut self.0);
            self.0.push('"');
        }
        // In SVG nothing else ends an element that has nothing inside.
        if VOID.contains(&name) {
            return self.0.push_str("/>");
        }
        self.0.push('>');
        inside(self);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with a text in it, of a class if there is one.
    pub(super) fn span(&mut self, name: &'static str, class: &str, text: impl Display) {
        let attributes: [Attribute<'_>; 1] = [("class", &class)];
        let attributes = if class.is_empty() { &[][..] } else { &attributes[..] };
        self.element(name, attributes, |html| html.text(text));
    }

    /// Markup that was written elsewhere.
    pub(super) fn append(&mut self, other: Self) {
        self.0.push_str(&other.0);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Text as HTML and XML read it, in elements and in quoted attributes.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Signs that turn text round could make one name look like another.
            c if c.is_control() || is_direction(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_in_elements_and_attributes() {
        let mut html = Html::default();
        html.element("a", &[("title", &"\"><script>'")], |html| html.text("<b>&\u{202e}\0"));
        assert_eq!(
            html.finish(),
            "<a title=\"&quot;&gt;&lt;script&gt;&#39;\">&lt;b&gt;&amp;\u{fffd}\u{fffd}</a>"
        );
    }
}
