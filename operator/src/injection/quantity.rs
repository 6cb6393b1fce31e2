//! Quantities of Kubernetes, as far as resources of a container are written: `100m`, `0.5`, `64Mi`, `1G`.
//!
//! Own code because the one library for these types (`kube_quantity`) panics on numbers that are too large, and these
//! come from annotations that anybody may write.

use std::fmt;
use std::str::FromStr;

/// Longest text: what is longer is a mistake.
const MAX_TEXT: usize = 20;

/// Parts of one unit that can be told apart: thousandths, as the API server keeps them.
const PARTS: u128 = 1_000;

/// A positive amount, with the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    text: String,
    thousandths: u128,
}

/// A text that is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no quantity above zero: write a number with m, k, M, G, T, Ki, Mi, Gi, Ti or nothing after it, as in 100m or 64Mi"
)]
pub struct NotAQuantity(String);

impl Quantity {
    /// Thousandths of one unit (of a core, of a byte).
    pub fn thousandths(&self) -> u128 {
        self.thousandths
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let text = text.trim();
        let wrong = || NotAQuantity(text.chars().take(MAX_TEXT).collect());
        let thousandths = (text.len() <= MAX_TEXT).then(|| thousandths(text)).flatten();
        match thousandths {
            Some(thousandths) if thousandths > 0 => Ok(Self {
                text: text.to_owned(),
                thousandths,
            }),
            _ => Err(wrong()),
        }
    }
}

fn thousandths(text: &str) -> Option<u128> {
    let end = text
        .find(|one: char| !one.is_ascii_digit() && one != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() {
        return None;
    }
    let unit: u128 = match suffix {
        "m" => 1,
        "" => PARTS,
        "k" => PARTS * 1_000,
        "M" => PARTS * 1_000_000,
        "G" => PARTS * 1_000_000_000,
        "T" => PARTS * 1_000_000_000_000,
        "Ki" => PARTS << 10,
        "Mi" => PARTS << 20,
        "Gi" => PARTS << 30,
        "Ti" => PARTS << 40,
        _ => return None,
    };
    // At most 20 digits times 2^50: far below 2^128.
    let places = u32::try_from(fraction.len()).ok()?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    // What is finer than a thousandth is rounded up, as the API server does.
    Some(digits.checked_mul(unit)?.div_ceil(10_u128.checked_pow(places)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_forms_are_understood() {
        let cases: &[(&str, u128)] = &[
            ("100m", 100),
            ("1", 1_000),
            ("0.5", 500),
            ("1.", 1_000),
            ("64Mi", (64 << 20) * 1_000),
            ("1.5Gi", 3 << 29),
            ("1G", 1_000_000_000_000),
            (" 2k ", 2_000_000),
            ("0.0001", 1),
            ("99999999999999999Ti", 99_999_999_999_999_999 * (1_000 << 40)),
        ];
        for (text, expected) in cases {
            let expected = if *text == "1.5Gi" {
                expected * 1_000
            } else {
                *expected
            };
            assert_eq!(
                text.parse::<Quantity>().unwrap().thousandths(),
                expected,
                "{text}"
            );
        }
        assert_eq!(" 64Mi ".parse::<Quantity>().unwrap().to_string(), "64Mi");
    }

    #[test]
    fn everything_else_is_refused_with_the_way_to_write_it() {
        let long = "9".repeat(500);
        for text in [
            "", "m", "-1", "+1", "0", "0Mi", "1.2.3", ".", ".5", "1 Mi", "1MB", "1e3", "١", &long,
        ] {
            let error = text.parse::<Quantity>().unwrap_err().to_string();
            assert!(
                error.contains("as in 100m or 64Mi") && error.len() < 250,
                "{error}"
            );
        }
    }
}
