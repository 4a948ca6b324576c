//! What type the cells of a column have in common.
#![forbid(unsafe_code)]

use super::CsvType;
use super::value::Number;

/// What the cells seen so far can all be read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Guess {
    /// There was none but missing ones.
    #[default]
    Missing,
    Bool,
    Integer,
    /// Integers, one or more of which 64 bits cannot hold.
    LongInteger,
    /// Numbers, one or more of which have a point or an exponent, or are infinite or none.
    Float,
    Text,
}

impl Guess {
    /// What `cell`, spaces around it taken off, can be read as.
    pub(super) fn of(cell: &[u8]) -> Guess {
        let digits = cell.strip_prefix(b"-").or(cell.strip_prefix(b"+")).unwrap_or(cell);
        if cell.is_empty() {
            Guess::Missing
        } else if i64::parse(cell).is_some() {
            Guess::Integer
        } else if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            Guess::LongInteger
        } else if f64::parse(cell).is_some() {
            Guess::Float
        } else if cell.eq_ignore_ascii_case(b"true") || cell.eq_ignore_ascii_case(b"false") {
            Guess::Bool
        } else {
            Guess::Text
        }
    }

    /// What cells of both can be read as.
    pub(super) fn and(self, other: Guess) -> Guess {
        use Guess::*;
        match (self, other) {
            (a, b) if a == b => a,
            (Missing, a) | (a, Missing) => a,
            (Integer | LongInteger, Float) | (Float, Integer | LongInteger) => Float,
            (Integer, LongInteger) | (LongInteger, Integer) => LongInteger,
            _ => Text,
        }
    }

    /// The type of a column of such cells.
    pub(super) fn csv_type(self) -> CsvType {
        match self {
            Guess::Bool => CsvType::Bool,
            Guess::Integer => CsvType::I64,
            Guess::Float => CsvType::F64,
            Guess::Missing | Guess::LongInteger | Guess::Text => CsvType::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cells: &[&str]) -> CsvType {
        let guesses = cells.iter().map(|cell| Guess::of(cell.as_bytes()));
        let backwards = guesses.clone().rev().fold(Guess::default(), Guess::and);
        let guess = guesses.fold(Guess::default(), Guess::and);
        assert_eq!(guess, backwards);
        guess.csv_type()
    }

    #[test]
    fn the_narrowest_type_that_holds_every_cell() {
        assert_eq!(of(&[]), CsvType::Text);
        assert_eq!(of(&["", ""]), CsvType::Text);
        assert_eq!(of(&["1", "", "-9223372036854775808"]), CsvType::I64);
        assert_eq!(of(&["1", "2."]), CsvType::F64);
        assert_eq!(of(&["nan", "3"]), CsvType::F64);
        assert_eq!(of(&["TRUE", "false"]), CsvType::Bool);
        assert_eq!(of(&["true", "1"]), CsvType::Text);
        assert_eq!(of(&["1", "one"]), CsvType::Text);
        assert_eq!(of(&["-"]), CsvType::Text);
    }

    #[test]
    fn identifiers_too_long_for_an_integer_keep_their_digits() {
        assert_eq!(of(&["7", "9223372036854775808"]), CsvType::Text);
        assert_eq!(of(&["9223372036854775808", "1e3"]), CsvType::F64);
    }
}
