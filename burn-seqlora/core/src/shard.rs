//! A part of work that several machines share.

/// A part of numbered work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0 on.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

impl Shard {
    /// The only part: all of the work.
    pub const ALL: Self = Self { number: 0, count: 1 };

    /// Whether the work with this number belongs to the part.
    pub fn has(self, number: usize) -> bool {
        number % self.count == self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_belongs_to_one_part() {
        let parts = [0, 1, 2].map(|number| Shard { number, count: 3 });
        for number in 0..10 {
            assert_eq!(parts.iter().filter(|part| part.has(number)).count(), 1);
            assert!(Shard::ALL.has(number));
        }
    }
}
