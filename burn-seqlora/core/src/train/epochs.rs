//! The order in which placements are drawn.

use std::cell::RefCell;

use rand::seq::SliceRandom;

use crate::rng::Seed;

/// Every epoch is a new permutation of all placements, and a function of the seed and its number.
#[derive(Debug)]
pub struct Epochs {
    seed: Seed,
    count: usize,
    /// The epoch that was asked for last, with its order: four bytes per placement.
    current: RefCell<Option<(usize, Vec<u32>)>>,
}

impl Epochs {
    /// Epochs of `count` placements.
    ///
    /// # Panics
    /// If there are none, or 2³² or more.
    pub fn new(seed: Seed, count: usize) -> Self {
        assert!(count > 0 && u32::try_from(count).is_ok(), "there are {count} placements");
        Self { seed, count, current: RefCell::new(None) }
    }

    /// The placement of draw number `draw`.
    pub fn placement(&self, draw: usize) -> usize {
        let epoch = draw / self.count;
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let mut order: Vec<u32> = (0..self.count as u32).collect();
            order.shuffle(&mut self.seed.at(epoch as u64));
            *current = Some((epoch, order));
        }
        let (_, order) = current.as_ref().expect("an epoch was shuffled");
        order[draw % self.count] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order is that of a shuffle of all placements for every draw, as it was until 0.1.
    #[test]
    fn draws_do_not_depend_on_what_was_drawn_before() {
        let seed = Seed::new(3).fork("epochs");
        let epochs = Epochs::new(seed.clone(), 7);
        let alone = |draw: usize| {
            let mut order: Vec<usize> = (0..7).collect();
            order.shuffle(&mut seed.at((draw / 7) as u64));
            order[draw % 7]
        };
        for draw in [0, 1, 20, 6, 7, 13, 2, 700] {
            assert_eq!(epochs.placement(draw), alone(draw), "{draw}");
        }
    }

    /// Later draws of an epoch read the order that the first one has left, here another one in its place.
    #[test]
    fn an_epoch_is_shuffled_once() {
        let epochs = Epochs::new(Seed::new(3), 5);
        epochs.placement(0);
        *epochs.current.borrow_mut() = Some((0, vec![4; 5]));
        let draws = |range: std::ops::Range<usize>| -> Vec<usize> {
            range.map(|draw| epochs.placement(draw)).collect()
        };
        assert_eq!(draws(0..5), [4; 5]);
        let mut next = draws(5..10);
        next.sort();
        assert_eq!(next, [0, 1, 2, 3, 4], "the next epoch has an order of its own");
    }
}
