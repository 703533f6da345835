//! Permissions in words (`u+x,go-w`), as POSIX chmod reads them.

use super::FileError;

/// Applies words, or an octal number, to the permissions of a file.
pub(crate) fn apply(text: &str, mode: u32, is_dir: bool) -> Result<u32, FileError> {
    let invalid = || {
        FileError::Invalid(format!(
            "invalid permissions `{text}`, expected such as 0755 or u+x,go-w"
        ))
    };
    if let Ok(octal) = u32::from_str_radix(text, 8) {
        return if octal <= 0o7777 { Ok(octal) } else { Err(invalid()) };
    }
    let mut mode = mode & 0o7777;
    for clause in text.split(',') {
        let at = clause.find(['+', '-', '=']).ok_or_else(invalid)?;
        let (who, actions) = clause.split_at(at);
        let mut mask = 0;
        for c in who.chars() {
            mask |= match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return Err(invalid()),
            };
        }
        let mask = if who.is_empty() { 0o7777 } else { mask };
        let mut actions = actions.chars().peekable();
        while let Some(action) = actions.next() {
            let mut bits = 0;
            while let Some(c) = actions.next_if(|c| !"+-=".contains(*c)) {
                bits |= match c {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_dir || mode & 0o111 != 0 => 0o111,
                    'X' => 0,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => spread(mode >> 6),
                    'g' => spread(mode >> 3),
                    'o' => spread(mode),
                    _ => return Err(invalid()),
                };
            }
            let bits = bits & mask;
            mode = match action {
                '+' => mode | bits,
                '-' => mode & !bits,
                '=' => (mode & !(mask & 0o777)) | bits,
                _ => return Err(invalid()),
            };
        }
    }
    Ok(mode)
}

/// Three permission bits for everyone.
fn spread(bits: u32) -> u32 {
    (bits & 7) * 0o111
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn words_mean_what_chmod_means() {
        for (text, before, is_dir, after) in [
            ("0755", 0o600, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("a+rX", 0o600, false, 0o644),
            ("a+rX", 0o700, true, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("u=rw,go=r", 0o777, false, 0o644),
            ("g=u", 0o640, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("+x", 0o644, false, 0o755),
        ] {
            assert_eq!(apply(text, before, is_dir).unwrap(), after, "{text}");
        }
        assert!(apply("x+y", 0, false).is_err());
        assert!(apply("10000", 0, false).is_err());
    }
}
