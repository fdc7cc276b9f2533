//! Draws by weight in constant time (Walker 1977, built as by Vose 1991).

use rand::Rng;

use crate::candidates::{below, unit};

/// A table from which indices are drawn in proportion to their weights.
#[derive(Debug)]
pub(crate) struct Alias {
    /// Each column's own share, and whose the rest is.
    columns: Box<[(f32, u32)]>,
}

impl Alias {
    /// A table for these weights; `None` where a table is of no use: all are equal, or all 0.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "shares need no more than 24 bits, indices fit 32"
    )]
    pub(crate) fn new(weights: &[u16]) -> Option<Self> {
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        if total <= 0.0 || weights.windows(2).all(|pair| pair.first() == pair.last()) {
            return None;
        }
        let scale = weights.len() as f64 / total;
        let mut shares: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) * scale).collect();
        let mut columns: Box<[(f32, u32)]> = (0..weights.len()).map(|at| (1.0, at as u32)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|at| shares[*at] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            columns[less] = (shares[less] as f32, more as u32);
            shares[more] -= 1.0 - shares[less];
            if shares[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Some(Self { columns })
    }

    pub(crate) fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> usize {
        let column = below(rng, self.columns.len());
        let (share, other) = self.columns[column];
        if unit(rng) < f64::from(share) {
            column
        } else {
            other as usize
        }
    }
}
