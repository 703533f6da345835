//! Steps by name, as users call them.

/// A pattern for the names of steps: `*` stands for any text, `?` for one character.
///
/// It fits a whole name, or one without the place that frontends put in front: `RUN apt*` fits
/// `[build 2/4] RUN apt-get update`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepPattern(String);

impl StepPattern {
    /// A pattern; every text is one.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern as it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it fits a name.
    pub(crate) fn fits(&self, name: &str) -> bool {
        let bare = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        fits(&self.0, name) || bare.is_some_and(|(_, bare)| fits(&self.0, bare))
    }

    /// The same, or the text as it is stands somewhere in the name.
    pub(crate) fn finds(&self, name: &str) -> bool {
        self.fits(name) || name.contains(&self.0)
    }
}

/// Whether a pattern fits a text from end to end. A star that took too little takes one more, and what
/// stars before it took stays, so that this is never slow.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, seen) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_name_or_all_behind_its_place() {
        let name = "[build 2/4] RUN apt-get update && apt-get install -y curl";
        for fine in ["*", "RUN apt*", "RUN*curl", "[build ?/4]*", "*update*", name] {
            assert!(StepPattern::new(fine).fits(name), "{fine}");
        }
        for other in ["RUN apt", "apt*", "run apt*", "RUN*wget", "", "[build 2/4]"] {
            assert!(!StepPattern::new(other).fits(name), "{other}");
        }
        assert!(StepPattern::new("apt-get").finds(name));
        assert!(StepPattern::new("a*a*a*a*a*b").fits(&("a".repeat(200) + "b")));
    }
}
