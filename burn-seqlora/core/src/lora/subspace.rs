//! A worker's share of every layer's directions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::directions::Columns;
use super::shared_basis;

/// Block K of N of the orthonormal basis that a family of workers shares.
///
/// Concepts of different blocks are orthogonal by construction, so that workers can learn at the same time without
/// knowing of each other. A layer of m inputs has blocks of ⌊m / N⌋ directions; what is left over belongs to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subspace {
    /// K, from 1 to N.
    number: usize,
    /// N
    of: usize,
}

/// No layer has more directions to share out.
const MOST_BLOCKS: usize = 1 << 16;

impl Subspace {
    /// Block `number` of `of`; `None` if there is no such block.
    pub fn new(number: usize, of: usize) -> Option<Self> {
        ((1..=of).contains(&number) && of <= MOST_BLOCKS).then_some(Self { number, of })
    }

    /// N
    pub fn of(self) -> usize {
        self.of
    }

    /// The number of its directions at a layer of so many inputs.
    pub fn directions(self, inputs: usize) -> usize {
        inputs / self.of
    }

    /// Its directions at a layer of so many inputs: columns of the family's basis.
    pub fn block(self, family: u64, inputs: usize) -> Columns {
        let width = self.directions(inputs);
        let numbers: Vec<usize> = ((self.number - 1) * width..self.number * width).collect();
        shared_basis(family, inputs, &numbers)
    }
}

impl fmt::Display for Subspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl From<Subspace> for String {
    fn from(subspace: Subspace) -> Self {
        subspace.to_string()
    }
}

impl FromStr for Subspace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(number, of)| Self::new(number.parse().ok()?, of.parse().ok()?));
        numbers.ok_or_else(|| format!("`{}` is not K/N, as 1/8 to 8/8", text.escape_debug()))
    }
}

impl TryFrom<String> for Subspace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_orthonormal_and_orthogonal_to_each_other() {
        let all: Columns =
            (1..=3).flat_map(|k| Subspace::new(k, 3).unwrap().block(7, 20)).collect();
        assert_eq!(all.len(), 18);
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(i == j)).abs() < 1e-12);
            }
        }
        assert_ne!(all[..6], Subspace::new(1, 3).unwrap().block(8, 20)[..]);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "1/99999999"] {
            assert!(text.parse::<Subspace>().is_err(), "{text}");
        }
        let subspace: Subspace = "2/8".parse().unwrap();
        assert_eq!(serde_json::to_string(&subspace).unwrap(), "\"2/8\"");
        assert_eq!(serde_json::from_str::<Subspace>("\"2/8\"").unwrap(), subspace);
    }
}
