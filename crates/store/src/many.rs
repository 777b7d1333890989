//! Statements over many rows at once, with few texts.
//!
//! Guarantees: any number of rows is cut into runs of at most [`ROWS_MAX`], each a power of two, so that a
//! connection keeps eight prepared statements of a kind and no more. Never puts a value into a text: values
//! are bound.
//!
//! Why: sqlx hands each SQLite statement to the connection's thread and waits for the answer. A statement a
//! row spends its time on that hand-over, not on the row.
//!
//! Example: 200 rows are runs of 128, 64 and 8.

use std::{fmt::Write as _, sync::LazyLock};

/// Most rows of one statement: a whole group of appends of one entry each.
const ROWS_MAX: usize = 1 << (TEXTS - 1);
/// Texts of one kind: for 1, 2, 4, … and [`ROWS_MAX`] rows.
const TEXTS: usize = 8;

/// The texts of one kind of statement, one a length of a run.
pub(crate) struct Many(LazyLock<[String; TEXTS]>);

impl Many {
    /// `text` makes the statement for a number of rows.
    pub(crate) const fn new(texts: fn() -> [String; TEXTS]) -> Self {
        Self(LazyLock::new(texts))
    }

    /// Cuts `rows` into runs, each with the statement that takes as many.
    pub(crate) fn runs<'a, T>(
        &'static self,
        mut rows: &'a [T],
    ) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let power = rows.len().min(ROWS_MAX).checked_ilog2()?;
            let (run, rest) = rows.split_at(1 << power);
            rows = rest;
            Some((self.0[power as usize].as_str(), run))
        })
    }
}

/// The texts of a kind, each made for its number of rows.
pub(crate) fn texts(text: impl Fn(usize) -> String) -> [String; TEXTS] {
    std::array::from_fn(|power| text(1 << power))
}

/// `($1, $2), ($3, $4)`: as many tuples as rows.
pub(crate) fn tuples(rows: usize, columns: usize) -> String {
    let tuples: Vec<String> = (0..rows)
        .map(|row| list(row * columns + 1, columns))
        .collect();
    tuples.join(", ")
}

/// `(?, ?), (?, ?)`: the same for SQLite, without names.
pub(crate) fn nameless(rows: usize, columns: usize) -> String {
    let tuple = format!("({})", vec!["?"; columns].join(", "));
    vec![tuple; rows].join(", ")
}

/// `($2, $3, $4)`: as many values, numbered from `first`.
pub(crate) fn list(first: usize, values: usize) -> String {
    let mut list = String::from("(");
    for number in first..first + values {
        let comma = if number == first { "" } else { ", " };
        write!(list, "{comma}${number}").expect("a String takes whatever is written");
    }
    list.push(')');
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    static INSERT: Many = Many::new(|| texts(|rows| format!("VALUES {}", tuples(rows, 2))));

    #[test]
    fn any_number_of_rows_is_cut_into_runs_that_have_a_text_each() {
        for length in [0, 1, 3, 128, 200, 1_000] {
            let rows: Vec<usize> = (0..length).collect();
            let mut seen = Vec::new();
            for (text, run) in INSERT.runs(&rows) {
                assert_eq!(text.matches('(').count(), run.len());
                seen.extend_from_slice(run);
            }
            assert_eq!(seen, rows);
        }
        let cut: Vec<usize> = INSERT.runs(&[0; 200]).map(|(_, run)| run.len()).collect();
        assert_eq!(cut, [128, 64, 8]);
    }

    #[test]
    fn values_are_numbered_through_all_rows() {
        assert_eq!(
            INSERT.runs(&[0; 2]).next().unwrap().0,
            "VALUES ($1, $2), ($3, $4)"
        );
        assert_eq!(list(2, 3), "($2, $3, $4)");
    }
}
