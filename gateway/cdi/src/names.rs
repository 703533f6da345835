//! Names of devices: `vendor/class=device`.

/// The kind of a qualified name: `vendor/class` of `vendor/class=device`.
pub(crate) fn kind(name: &str) -> &str {
    name.split_once('=').map_or(name, |(kind, _)| kind)
}

/// Whether a text is a kind, `vendor/class`.
pub(crate) fn is_kind(kind: &str) -> bool {
    kind.split_once('/').is_some_and(|(vendor, class)| {
        has_form(vendor, char::is_alphabetic, "_-.") && has_form(class, char::is_alphabetic, "_-")
    })
}

/// Whether a text names a device of a kind.
pub(crate) fn is_device(name: &str) -> bool {
    has_form(name, char::is_alphanumeric, "_-.:")
}

/// Letters and digits, with others between them.
fn has_form(text: &str, first: fn(char) -> bool, between: &str) -> bool {
    let mut letters = text.chars();
    text.is_ascii()
        && letters.next().is_some_and(first)
        && letters.clone().next_back().is_none_or(|last| last.is_ascii_alphanumeric())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || between.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_form_that_the_specification_gives_them() {
        for kind in ["vendor1.com/device", "a/b", "nvidia.com/gpu", "v_1/c-2"] {
            assert!(is_kind(kind), "{kind}");
        }
        for kind in ["", "a", "/b", "a/", "1a/b", "a/1b", "a./b", "a/b.c", "a/b-", "ä/b", "a/b/c"]
        {
            assert!(!is_kind(kind), "{kind}");
        }
        for name in ["0", "all", "1:0", "mig-1", "a.b"] {
            assert!(is_device(name), "{name}");
        }
        for name in ["", "-a", "a-", "a/b", "a=b", "*"] {
            assert!(!is_device(name), "{name}");
        }
    }
}
