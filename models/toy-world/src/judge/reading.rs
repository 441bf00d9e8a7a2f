//! What the judge sees in a picture.

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};
use serde::{Deserialize, Serialize};

use super::model::{Answers, BACKGROUNDS, CLASSES, COLOURS, PATTERNS};
use crate::world::{Background, Class, Colour, Pattern, Relation};

/// Probability from which a class counts as present.
pub const PRESENT: f32 = 0.5;

/// A class as the judge sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The class.
    pub class: Class,
    /// How likely it is there, 0 to 1.
    pub probability: f32,
    /// Its most likely colour.
    pub colour: Colour,
    /// Its most likely pattern.
    pub pattern: Pattern,
    /// The middle of the box round it, x and y in unit coordinates.
    pub centre: (f32, f32),
}

/// What the judge sees in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// All classes, the most likely one first.
    pub classes: Vec<Found>,
    /// The most likely background.
    pub background: Background,
}

impl Reading {
    /// A reading for each row of answers.
    pub fn of<B: Backend>(answers: &Answers<B>) -> Vec<Self> {
        let present = numbers(sigmoid(answers.present.clone()));
        let colour = numbers(answers.colour.clone());
        let pattern = numbers(answers.pattern.clone());
        let centre = numbers(answers.centre.clone());
        let background = numbers(answers.background.clone());
        let pictures = answers.present.dims()[0];
        let found = |row: usize| Found {
            class: Class::ALL[row % CLASSES],
            probability: present[row],
            colour: Colour::ALL[largest(&colour[row * COLOURS..][..COLOURS])],
            pattern: Pattern::ALL[largest(&pattern[row * PATTERNS..][..PATTERNS])],
            centre: (centre[2 * row], centre[2 * row + 1]),
        };
        let reading = |picture: usize| {
            let rows = picture * CLASSES..(picture + 1) * CLASSES;
            let mut classes: Vec<Found> = rows.map(found).collect();
            classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            let background = &background[picture * BACKGROUNDS..][..BACKGROUNDS];
            Self { classes, background: Background::ALL[largest(background)] }
        };
        (0..pictures).map(reading).collect()
    }

    /// The classes that are present, the most likely one first.
    pub fn present(&self) -> impl Iterator<Item = &Found> {
        self.classes.iter().filter(|found| found.probability >= PRESENT)
    }

    /// The class, if it is present.
    pub fn find(&self, class: Class) -> Option<&Found> {
        self.present().find(|found| found.class == class)
    }

    /// The two most likely present classes, and how the first stands to the second.
    pub fn relation(&self) -> Option<(Class, Relation, Class)> {
        let mut present = self.present();
        let (first, second) = (present.next()?, present.next()?);
        Some((first.class, Relation::between(first.centre, second.centre), second.class))
    }
}

fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn largest(numbers: &[f32]) -> usize {
    let places = 0..numbers.len();
    places.max_by(|a, b| numbers[*a].total_cmp(&numbers[*b])).expect("a table has entries")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::judging::Targets;
    use crate::world::{Description, Seed, Wanted};
    use seqlora_kernels::Flex;

    /// The answers of a judge that is right and sure.
    fn perfect(description: &Description) -> Answers<Flex> {
        let truth = description.scene(&Seed::new(3), 0).truth();
        let targets = Targets::<Flex>::new(&[truth], &Default::default());
        Answers {
            present: targets.present * 20.0 - 10.0,
            colour: targets.colour,
            pattern: targets.pattern,
            centre: targets.centre,
            background: targets.background,
        }
    }

    #[test]
    fn a_perfect_output_is_read_as_what_was_drawn() {
        let star = Wanted { colour: Some(Colour::Grey), ..Wanted::any(Class::Star) };
        let hat = Wanted { pattern: Some(Pattern::Ringed), ..Wanted::any(Class::Hat) };
        let description = Description {
            objects: vec![star, hat],
            relation: Some(Relation::Below),
            background: Some(Background::City),
        };
        let reading = &Reading::of(&perfect(&description))[0];
        assert_eq!((reading.present().count(), reading.classes.len()), (2, 16));
        assert_eq!(reading.find(Class::Star).unwrap().colour, Colour::Grey);
        assert_eq!(reading.find(Class::Hat).unwrap().pattern, Pattern::Ringed);
        assert_eq!(reading.find(Class::Cat), None);
        assert_eq!(reading.background, Background::City);
        let expected = match reading.relation().unwrap() {
            (Class::Star, relation, Class::Hat) => relation,
            (Class::Hat, relation, Class::Star) => relation.reversed(),
            other => panic!("{other:?}"),
        };
        assert_eq!(expected, Relation::Below);
    }
}
