//! Combinations of attributes that are held out of training, to measure compositional
//! generalisation.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::world::class::Class;
use crate::world::colour::Colour;
use crate::world::description::Description;
use crate::world::relation::Relation;

/// About one combination in this many is held out.
const ONE_IN: u8 = 10;

/// The set that a scene belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Scenes without a held-out combination.
    #[default]
    Train,
    /// Scenes with at least one held-out combination.
    HeldOut,
}

impl Split {
    /// The split of a class in a colour.
    pub fn of_pair(class: Class, colour: Colour) -> Self {
        Self::of_words(&[class.word(), colour.word()])
    }

    /// The split of two classes in a relation. The reversed relation has the same split.
    pub fn of_triple(first: Class, relation: Relation, second: Class) -> Self {
        if !relation.is_canonical() {
            return Self::of_triple(second, relation.reversed(), first);
        }
        Self::of_words(&[first.word(), relation.phrases()[0], second.word()])
    }

    /// The split of a description, which is held out if any combination that it states is.
    pub fn of(description: &Description) -> Self {
        let pairs = description.objects.iter().filter_map(|o| Some((o.class, o.main?)));
        let mut parts: Vec<Self> = pairs.map(|(class, c)| Self::of_pair(class, c)).collect();
        if let (Some(relation), [first, second]) = (description.relation, &description.objects[..])
        {
            parts.push(Self::of_triple(first.class, relation, second.class));
        }
        if parts.contains(&Self::HeldOut) { Self::HeldOut } else { Self::Train }
    }

    fn of_words(words: &[&str]) -> Self {
        let hash = Sha256::digest(words.join(" "));
        if hash[0].is_multiple_of(ONE_IN) { Self::HeldOut } else { Self::Train }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_combinations_remain_for_training() {
        let trained = |class, colour| Split::of_pair(class, colour) == Split::Train;
        for class in Class::ALL {
            let count = Colour::ALL.into_iter().filter(|colour| trained(class, *colour)).count();
            assert!(count >= 7, "{class:?} {count}");
        }
        for colour in Colour::ALL {
            let count = Class::ALL.into_iter().filter(|class| trained(*class, colour)).count();
            assert!(count >= 10, "{colour:?} {count}");
        }
        let all = Class::ALL.len() * Colour::ALL.len();
        let pairs = Class::ALL.into_iter().flat_map(|c| Colour::ALL.map(|colour| (c, colour)));
        let held_out = all - pairs.filter(|(class, colour)| trained(*class, *colour)).count();
        assert!((all / 20..all / 6).contains(&held_out), "{held_out}");
    }

    #[test]
    fn a_relation_and_its_reverse_are_in_the_same_split() {
        for (first, second) in [(Class::Mug, Class::Car), (Class::Cat, Class::Tree)] {
            for relation in Relation::ALL {
                let split = Split::of_triple(first, relation, second);
                assert_eq!(split, Split::of_triple(second, relation.reversed(), first));
            }
        }
    }
}
