//! "Did you mean": the reference's guess for a misspelt word.

/// Words further away than this many edits are no misspellings.
const LIMIT: usize = 2;

/// The option that `value` was most likely meant to be.
///
/// None if an option equals `value`, as then the word was not what is wrong, or if none is within
/// two edits. Of equally near options the first wins. Without regard to case the answer takes over
/// the value's case if that is all upper, and is in lower case otherwise.
pub fn search<'a>(
    value: &str,
    options: impl IntoIterator<Item = &'a str>,
    case_sensitive: bool,
) -> Option<String> {
    let fold = |word: &str| if case_sensitive { word.to_owned() } else { word.to_lowercase() };
    let folded = fold(value);
    let mut nearest = None;
    let mut allowed = LIMIT;
    for option in options {
        let option = fold(option);
        if option == folded {
            return None;
        }
        if let Some(distance) = distance_within(&folded, &option, allowed) {
            nearest = Some(option);
            allowed = distance.saturating_sub(1);
        }
    }
    // No one means an option without a name, but it is the nearest all the same.
    let nearest = nearest.filter(|option| !option.is_empty())?;
    let upper = !case_sensitive && value != folded && value == value.to_uppercase();
    Some(if upper { nearest.to_uppercase() } else { nearest })
}

/// The message, and the guess behind it if there is one.
pub fn hint<'a>(
    message: String,
    value: &str,
    options: impl IntoIterator<Item = &'a str>,
    case_sensitive: bool,
) -> String {
    match search(value, options, case_sensitive) {
        Some(guess) => format!("{message} (did you mean {guess}?)"),
        None => message,
    }
}

/// The edit distance of two words, or none if it is more than `limit`.
fn distance_within(left: &str, right: &str, limit: usize) -> Option<usize> {
    let (left_len, right_len) = (left.chars().count(), right.chars().count());
    if left_len.abs_diff(right_len) > limit {
        return None;
    }
    let distance = strsim::levenshtein(left, right);
    (distance <= limit).then_some(distance)
}
