//! Medians and the table they are printed in.

use std::fmt::Write;

/// The middle one; of an even number the mean of the middle two.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let half = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (samples[half - 1] + samples[half]) / 2.0,
        _ => samples[half],
    }
}

/// How far the median of such samples may be off: its standard error, from the middle half of them, so that a few bad ones do
/// not count. For a normal distribution that is 1.2533 σ / √n, and the middle half is 1.349 σ wide.
pub fn uncertainty(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = |share: usize| samples.get(samples.len() * share / 4).copied();
    let (Some(low), Some(high)) = (at(1), at(3)) else {
        return f64::NAN;
    };
    1.2533 / 1.349 * (high - low) / (samples.len() as f64).sqrt()
}

/// Measures several things by turns, so that what the machine does meanwhile meets all of them. The samples of each, by
/// rounds.
pub fn by_turns<const N: usize>(
    rounds: u32,
    mut measure: impl FnMut(usize) -> anyhow::Result<f64>,
) -> anyhow::Result<[Vec<f64>; N]> {
    let mut samples: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..rounds {
        for (index, samples) in samples.iter_mut().enumerate() {
            samples.push(measure(index)?);
        }
    }
    Ok(samples)
}

/// What a figure was to be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Nothing was asked.
    None,
    /// This or less.
    AtMost(f64),
}

/// A table: a heading, rows of cells, the first column left and the others right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With its heading.
    pub fn new<S: Into<String>>(heading: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(heading);
        table
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from("  ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a String does not fail.
                let _ = if column == 0 {
                    write!(line, "{cell:<width$}")
                } else {
                    write!(line, "   {cell:>width$}")
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A line that holds a figure against its goal.
pub fn verdict(name: &str, value: f64, unit: &str, goal: Goal) -> [String; 4] {
    let digits = if value.abs() < 10.0 { 2 } else { 1 };
    let (goal, kept) = match goal {
        Goal::None => (String::new(), ""),
        Goal::AtMost(most) if value <= most => (format!("≤ {most}"), "kept"),
        Goal::AtMost(most) => (format!("≤ {most}"), "MISSED"),
    };
    [
        name.into(),
        format!("{value:.digits$}{unit}"),
        goal,
        kept.into(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        let mut turn = 0.0;
        let [a, b] = by_turns(2, |_| {
            turn += 1.0;
            Ok(turn)
        })
        .unwrap();
        assert_eq!((a, b), (vec![1.0, 3.0], vec![2.0, 4.0]));
    }

    #[test]
    fn the_middle_half_says_how_sure_a_median_is() {
        let samples: Vec<f64> = (0..100).map(f64::from).collect();
        let expected = 1.2533 / 1.349 * 50.0 / 10.0;
        assert!((uncertainty(samples) - expected).abs() < 1e-9);
        assert_eq!(uncertainty(vec![7.0]), 0.0);
        assert!(uncertainty(Vec::new()).is_nan());
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(["", "ns"]);
        table.row(["empty", "9.5"]);
        table.row(["known flow", "100.0"]);
        assert_eq!(
            table.text(),
            "                  ns\n  empty          9.5\n  known flow   100.0\n"
        );
    }

    #[test]
    fn goals_are_kept_or_missed() {
        let line = verdict("load", 12.0, " ms", Goal::AtMost(10.0));
        assert_eq!(line, ["load", "12.0 ms", "≤ 10", "MISSED"]);
        let line = verdict("size", 1.234, " MB", Goal::AtMost(2.0));
        assert_eq!(line, ["size", "1.23 MB", "≤ 2", "kept"]);
    }
}
