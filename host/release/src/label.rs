//! Names in signed documents are plain labels, never paths.
//!
//! A label has 1 to 64 characters of `A-Z a-z 0-9 . _ + -`, does not begin with a dot or a dash, does not
//! end with a dot, and is no device name of Windows: whoever makes a file name of it stays in the folder.

use crate::refusal::Invalid;

const RULE: &str = "1 to 64 of A-Z a-z 0-9 . _ + -, not beginning with . or -, not ending with .";
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Refuses `name` unless it is a plain label.
pub(crate) fn check(field: &'static str, name: &str) -> Result<(), Invalid> {
    let refuse = |rule| Err(Invalid::Label { field, name: name.chars().take(80).collect(), rule });
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return refuse(RULE);
    }
    if name.starts_with(['.', '-']) || name.ends_with('.') {
        return refuse(RULE);
    }
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|digit| matches!(digit.as_bytes(), [b'0'..=b'9']))
    };
    if DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        return refuse("not a device name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_labels_pass_and_path_tricks_do_not() {
        for good in ["app", "sensor-head_2.1+rc3", "0", "common", "com10", &"x".repeat(64)] {
            assert_eq!(check("name", good), Ok(()), "{good}");
        }
        let bad = [
            "",
            "..",
            ".",
            ".ssh",
            "a/b",
            "/etc/passwd",
            "..\\x",
            "C:",
            "a\0b",
            "a b",
            "-rf",
            "end.",
            "ü",
            "nul",
            "CON.bin",
            "com1",
            "lpt9.txt",
            "a\u{202e}b",
            &"x".repeat(65),
        ];
        for name in bad {
            assert!(matches!(check("name", name), Err(Invalid::Label { .. })), "{name:?}");
        }
    }
}
