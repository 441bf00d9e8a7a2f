//! Individuals: objects that a name stands for.
//!
//! An individual is one combination of part colours, marking and variant. The base model has words for
//! all of them, but an individual's own captions and prompts say only its name and its class, so that its
//! look has to come from what was learnt.

use std::sync::LazyLock;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::drawing::VARIANTS;
use crate::world::look::Look;
use crate::world::marking::Marking;
use crate::world::object::Object;
use crate::world::pose::Pose;
use seqlora_core::rng::Seed;

/// The individuals of each class.
pub(crate) const PER_CLASS: usize = 11;

/// The looks that each new individual of a class is chosen from.
const CANDIDATES: usize = 400;

/// An object with a look of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Individual {
    /// Its number, from 0.
    pub index: usize,
    /// Its class.
    pub class: Class,
    /// Its look.
    pub look: Look,
}

impl Individual {
    /// The number of individuals: eleven of each class.
    pub const COUNT: usize = PER_CLASS * Class::ALL.len();

    /// The individual of an index; indices beyond the last wrap around. Consecutive ones have different
    /// classes.
    pub fn of(index: usize) -> Self {
        static LOOKS: LazyLock<Vec<Vec<Look>>> =
            LazyLock::new(|| Class::ALL.into_iter().map(looks).collect());
        let index = index % Self::COUNT;
        let (class, number) = (index % Class::ALL.len(), index / Class::ALL.len());
        Self { index, class: Class::ALL[class], look: LOOKS[class][number] }
    }

    /// `count` individuals in a random order, as far as there are so many. Every fourth one is of the class
    /// of the one before it; the others go through the classes.
    pub fn sequence(seed: &Seed, count: usize) -> Vec<Self> {
        let mut rng = seed.fork("sequence").at(0);
        let mut classes = Class::ALL;
        classes.shuffle(&mut rng);
        let mut left: Vec<Vec<Self>> = Class::ALL.iter().map(|_| Vec::new()).collect();
        for individual in (0..Self::COUNT).map(Self::of) {
            left[individual.index % Class::ALL.len()].push(individual);
        }
        left.iter_mut().for_each(|of_class| of_class.shuffle(&mut rng));
        let mut next = classes.iter().cycle().map(|class| {
            Class::ALL.iter().position(|other| other == class).expect("the table is complete")
        });
        let mut sequence: Vec<Self> = Vec::new();
        while sequence.len() < count.min(Self::COUNT) {
            let again = sequence.len() % 4 == 3;
            let before =
                sequence.last().filter(|_| again).map(|last| last.index % Class::ALL.len());
            let class = before.filter(|class| !left[*class].is_empty());
            let class = class.or_else(|| next.next()).expect("the classes repeat");
            sequence.extend(left[class].pop());
        }
        sequence
    }

    /// `count` individuals of a class in a random order, as far as there are so many.
    pub fn of_class(seed: &Seed, class: Class, count: usize) -> Vec<Self> {
        let mut of_class: Vec<Self> =
            (0..Self::COUNT).map(Self::of).filter(|other| other.class == class).collect();
        of_class.shuffle(&mut seed.fork("of a class").at(0));
        of_class.truncate(count);
        of_class
    }

    /// Its name in file names and reports, e.g. `mug-07`. Each class counts from 0.
    pub fn id(&self) -> String {
        format!("{}-{:02}", self.class.word(), self.index / Class::ALL.len())
    }

    /// The individual in a pose.
    pub fn object(&self, pose: Pose) -> Object {
        Object { class: self.class, look: self.look, individual: Some(self.index), pose }
    }
}

/// The looks of a class's individuals: each is the candidate that is farthest from those before it.
fn looks(class: Class) -> Vec<Look> {
    let mut rng = Seed::new(0).fork("individuals").fork(class.word()).at(0);
    let mut looks: Vec<Look> = Vec::new();
    for _ in 0..PER_CLASS {
        let candidates: Vec<Look> = (0..CANDIDATES).map(|_| Look::random(&mut rng)).collect();
        let nearest = |look: &Look| {
            looks.iter().map(|other| look.distance(other, class)).fold(f32::INFINITY, f32::min)
        };
        let farthest = candidates.into_iter().max_by(|a, b| nearest(a).total_cmp(&nearest(b)));
        looks.extend(farthest);
    }
    looks
}

impl Look {
    /// A look whose neighbouring parts differ in colour.
    pub(crate) fn random(rng: &mut ChaCha8Rng) -> Self {
        let mut colour = || Colour::ALL[rng.random_range(0..Colour::ALL.len())];
        let mut other = |taken: &[Colour]| {
            loop {
                let colour = colour();
                if !taken.contains(&colour) {
                    return colour;
                }
            }
        };
        let main = other(&[]);
        let second = other(&[main]);
        let third = other(&[main, second]);
        let marked = other(&[main, second]);
        let variant = rng.random_range(0..VARIANTS);
        let marking = Marking::ALL[rng.random_range(0..Marking::ALL.len())];
        Self { variant, main, second, third, marking, marked }
    }

    /// How different two looks of a class are to the eye: distances of colours, weighted by the area that
    /// shows them, and a constant for another marking or variant. Its scale has no meaning.
    fn distance(&self, other: &Self, class: Class) -> f32 {
        let colours = |a: Colour, b: Colour| a.rgb().distance(b.rgb());
        let has_third = class.parts().1.is_some();
        let third = if has_third { 0.5 * colours(self.third, other.third) } else { 0.0 };
        let marking = match (self.marking, other.marking) {
            (Marking::Plain, Marking::Plain) => 0.0,
            (one, another) if one == another => 0.6 * colours(self.marked, other.marked),
            _ => 160.0,
        };
        let variant = if self.variant == other.variant { 0.0 } else { 90.0 };
        1.2 * colours(self.main, other.main)
            + colours(self.second, other.second)
            + third
            + marking
            + variant
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_sequence_has_every_individual_once_and_two_of_a_class_side_by_side() {
        let sequence = Individual::sequence(&Seed::new(3), Individual::COUNT + 1);
        let different: HashSet<usize> =
            sequence.iter().map(|individual| individual.index).collect();
        assert_eq!((sequence.len(), different.len()), (Individual::COUNT, Individual::COUNT));
        let classes: Vec<Class> = sequence.iter().map(|individual| individual.class).collect();
        assert_eq!(classes[2], classes[3]);
        assert_eq!(classes[6], classes[7]);
        let first: HashSet<&str> = classes[..3].iter().map(|class| class.word()).collect();
        assert_eq!(first.len(), 3);
        assert_eq!(Individual::sequence(&Seed::new(3), 5), sequence[..5]);
        assert_ne!(Individual::sequence(&Seed::new(4), 5), sequence[..5]);
    }
}
