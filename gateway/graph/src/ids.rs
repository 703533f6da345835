//! User and group ids as definitions give them: which numbers are ids, and which texts are numbers.
//!
//! The kernel reads 4294967295 (-1) as "leave it as it is", which is root's in a build, and a number
//! that does not fit must never be cut down to one that does. Both are refused here, before
//! anything runs. Names are left alone; they are looked up in the file system they are used in.

/// The largest id there is.
const MAX_ID: u32 = u32::MAX - 1;

/// `id`, if it is one.
pub(crate) fn checked(what: &str, id: u32) -> Result<u32, String> {
    if id <= MAX_ID { Ok(id) } else { Err(out_of_range(what, &id.to_string())) }
}

/// Refuses a text that is a number and no id; a name passes.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true if !text.parse::<u32>().is_ok_and(|id| id <= MAX_ID) => Err(out_of_range(what, text)),
        _ => Ok(()),
    }
}

/// Refuses `user[:group]` if either part is a number and no id.
pub(crate) fn check_owner(text: &str) -> Result<(), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    check_text("user", user)?;
    check_text("group", group)
}

fn out_of_range(what: &str, text: &str) -> String {
    format!("{what} id {text} is out of range (0 to {MAX_ID})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_ids_are_refused_and_names_are_not() {
        for fine in ["", "0", "1000:1000", "4294967294", "bob", "bob:staff", "1bob", "-", ":5"] {
            assert_eq!(check_owner(fine), Ok(()), "{fine}");
        }
        for (text, what) in [
            ("4294967295", "user id 4294967295"),
            ("-1", "user id -1"),
            ("4294967296", "user id 4294967296"),
            ("99999999999999999999999999", "user id 99999999999999999999999999"),
            ("0:4294967295", "group id 4294967295"),
            ("bob:-1", "group id -1"),
        ] {
            let error = check_owner(text).unwrap_err();
            assert_eq!(error, format!("{what} is out of range (0 to 4294967294)"));
        }
        assert_eq!(checked("user", 4_294_967_294), Ok(4_294_967_294));
        assert!(checked("user", u32::MAX).is_err());
    }
}
