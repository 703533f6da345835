//! Guesses what a misspelt word was meant to be.

/// The candidate that `word` most likely means, or none that is near enough.
///
/// Case, `-` and `_` do not count; otherwise one edit is allowed per three characters. Of equally
/// near candidates the first wins.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer words are no misspellings, and the comparison is quadratic.
    if word.len() > 100 {
        return None;
    }
    let plain = plain(word);
    let allowed = plain.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word && candidate.len() <= 100)
        .map(|candidate| (strsim::damerau_levenshtein(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= allowed && *distance < candidate.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> String {
    word.chars()
        .filter(|character| !matches!(character, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn near_words_are_guessed_and_far_ones_are_not() {
        let keys = ["name", "from", "steps", "workdir", "entrypoint"];
        assert_eq!(did_you_mean("frm", keys), Some("from"));
        assert_eq!(did_you_mean("WorkDir", keys), Some("workdir"));
        assert_eq!(did_you_mean("work_dir", keys), Some("workdir"));
        assert_eq!(did_you_mean("entripoint", keys), Some("entrypoint"));
        assert_eq!(did_you_mean("volumes", keys), None);
        assert_eq!(did_you_mean("x", ["y"]), None);
        assert_eq!(did_you_mean(&"x".repeat(1000), keys), None);
    }
}
