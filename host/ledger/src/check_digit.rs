//! Check digits of serial numbers: Luhn, ISO 7064 MOD 37,36 and MOD 97-10.

const ALPHANUMERIC: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Which check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// ISO/IEC 7812-1 annex B, one digit.
    Luhn,
    /// ISO 7064 MOD 37,36, one character.
    Mod37,
    /// ISO 7064 MOD 97-10, two digits.
    Mod97,
}

/// The check over the letters and digits of `before`; other characters do not count.
pub(crate) fn check_digits(check: Check, before: &str) -> String {
    match check {
        Check::Luhn => {
            let sum: u32 = values(before)
                .rev()
                .enumerate()
                .map(|(place, digit)| match place % 2 {
                    0 if digit > 4 => digit * 2 - 9,
                    0 => digit * 2,
                    _ => digit,
                })
                .sum();
            ((10 - sum % 10) % 10).to_string()
        }
        // ISO 7064, clause 9.1: hybrid system with modulus 37 and 36.
        Check::Mod37 => {
            let product = values(before).fold(36, |product, value| {
                let sum = (product + value) % 36;
                (if sum == 0 { 36 } else { sum }) * 2 % 37
            });
            char::from(ALPHANUMERIC[((37 - product) % 36) as usize]).to_string()
        }
        // ISO 7064, clause 8: letters count as two digits, two zeros take the place of the check.
        Check::Mod97 => {
            let rest = values(before).fold(0, |rest, value| {
                if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 }
            });
            format!("{:02}", 98 - rest * 100 % 97)
        }
    }
}

/// Values 0 to 35 of the letters and digits of `text`.
fn values(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|c| c.to_digit(36))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_the_published_ones() {
        // ISO/IEC 7812-1 annex B; ISO 7064 clause 9.1.2 (A12425GABC1234002 -> M); IBAN's MOD 97-10:
        // BBAN + country code of GB82 WEST 1234 5698 7654 32.
        assert_eq!(check_digits(Check::Luhn, "7992739871"), "3");
        assert_eq!(check_digits(Check::Mod37, "A12425GABC1234002"), "M");
        assert_eq!(check_digits(Check::Mod97, "WEST12345698765432GB"), "82");
        // Signs do not count.
        assert_eq!(check_digits(Check::Luhn, "7992-7398 71"), "3");
    }
}
