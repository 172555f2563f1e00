//! The arithmetic of paired rounds.

use std::fmt;

/// Ratios, one a pair of rounds.
#[derive(Debug, Default)]
pub(super) struct Ratios(Vec<f64>);

impl Ratios {
    pub(super) fn push(&mut self, ratio: f64) {
        self.0.push(ratio);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one, which a single disturbed round does not move.
    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.get(middle.saturating_sub(1)..=middle) {
            Some([below, above]) if self.0.len().is_multiple_of(2) => (below + above) / 2.0,
            _ => self.0.get(middle).copied().unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Ratios {
    /// The median, and between what the middle half lies.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quarter = self.0.len() / 4;
        let low = self.0.get(quarter).copied().unwrap_or(f64::NAN);
        let high = self.0.iter().rev().nth(quarter).copied().unwrap_or(f64::NAN);
        write!(formatter, "{:.3} ({low:.3}–{high:.3})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::Ratios;

    #[test]
    fn the_median_is_in_the_middle() {
        let mut ratios = Ratios::default();
        for ratio in [0.9, 0.1, 1.0] {
            ratios.push(ratio);
        }
        assert_eq!(ratios.median(), 0.9);
        ratios.push(0.8);
        assert!((ratios.median() - 0.85).abs() < 1e-9);
    }
}
