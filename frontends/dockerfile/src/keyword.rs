//! The instructions of the language by name.
//!
//! One row per instruction; parser, typed instructions, suggestions and lint read this table.

/// An instruction of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the instruction it is named after")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

/// Every keyword with its two spellings, sorted by name.
const TABLE: [(Keyword, &str, &str); 18] = [
    (Keyword::Add, "ADD", "add"),
    (Keyword::Arg, "ARG", "arg"),
    (Keyword::Cmd, "CMD", "cmd"),
    (Keyword::Copy, "COPY", "copy"),
    (Keyword::Entrypoint, "ENTRYPOINT", "entrypoint"),
    (Keyword::Env, "ENV", "env"),
    (Keyword::Expose, "EXPOSE", "expose"),
    (Keyword::From, "FROM", "from"),
    (Keyword::Healthcheck, "HEALTHCHECK", "healthcheck"),
    (Keyword::Label, "LABEL", "label"),
    (Keyword::Maintainer, "MAINTAINER", "maintainer"),
    (Keyword::Onbuild, "ONBUILD", "onbuild"),
    (Keyword::Run, "RUN", "run"),
    (Keyword::Shell, "SHELL", "shell"),
    (Keyword::StopSignal, "STOPSIGNAL", "stopsignal"),
    (Keyword::User, "USER", "user"),
    (Keyword::Volume, "VOLUME", "volume"),
    (Keyword::Workdir, "WORKDIR", "workdir"),
];

impl Keyword {
    /// Every keyword, sorted by name.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(keyword, ..)| *keyword)
    }

    /// The keyword a word spells, in any mix of cases.
    pub fn find(word: &str) -> Option<Self> {
        let is = |(_, upper, _): &&(Self, &str, &str)| word.eq_ignore_ascii_case(upper);
        if word.is_ascii() {
            return TABLE.iter().find(is).map(|(keyword, ..)| *keyword);
        }
        // Two letters outside ASCII have a lower case within; the reference lowers before it looks.
        let lowered = word.replace('\u{212a}', "k").replace('\u{130}', "i");
        if lowered.is_ascii() { Self::find(&lowered) } else { None }
    }

    /// The name in upper case, as it is usually written.
    pub fn upper(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The name in lower case, as messages have it.
    pub fn lower(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// True if the instruction may have here-documents.
    pub fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_found_in_any_case_and_stands_at_its_row() {
        for (row, (keyword, upper, lower)) in TABLE.iter().enumerate() {
            assert_eq!(*keyword as usize, row);
            assert_eq!((keyword.upper(), keyword.lower()), (*upper, *lower));
            assert_eq!(Keyword::find(upper), Some(*keyword));
            assert_eq!(Keyword::find(lower), Some(*keyword));
        }
        assert_eq!(Keyword::find("wor\u{212a}D\u{130}r"), Some(Keyword::Workdir));
        assert_eq!(Keyword::find("RUNS"), None);
        assert_eq!(Keyword::find(""), None);
        assert_eq!(Keyword::find("rün"), None);
    }
}
