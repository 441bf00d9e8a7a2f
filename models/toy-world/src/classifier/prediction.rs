//! What the classifier predicts for an image.

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};
use serde::{Deserialize, Serialize};

use super::model::{BACKGROUNDS, CLASSES, COLOURS, Logits, PATTERNS};
use crate::world::{Background, Class, Colour, Pattern, Relation};

/// The probability from which on a class counts as present.
pub const PRESENT: f32 = 0.5;

/// The classifier's prediction for one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The class.
    pub class: Class,
    /// The probability that it is present, 0 to 1.
    pub probability: f32,
    /// Its most likely colour.
    pub colour: Colour,
    /// Its most likely pattern.
    pub pattern: Pattern,
    /// The centre of its bounding box, x and y in unit coordinates.
    pub centre: (f32, f32),
}

/// The classifier's prediction for an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// All classes, the most likely one first.
    pub classes: Vec<Detection>,
    /// The most likely background.
    pub background: Background,
}

impl Prediction {
    /// A reading for each row of logits.
    pub fn of<B: Backend>(logits: &Logits<B>) -> Vec<Self> {
        let present = numbers(sigmoid(logits.present.clone()));
        let colour = numbers(logits.colour.clone());
        let pattern = numbers(logits.pattern.clone());
        let centre = numbers(logits.centre.clone());
        let background = numbers(logits.background.clone());
        let images = logits.present.dims()[0];
        let found = |row: usize| Detection {
            class: Class::ALL[row % CLASSES],
            probability: present[row],
            colour: Colour::ALL[largest(&colour[row * COLOURS..][..COLOURS])],
            pattern: Pattern::ALL[largest(&pattern[row * PATTERNS..][..PATTERNS])],
            centre: (centre[2 * row], centre[2 * row + 1]),
        };
        let prediction = |image: usize| {
            let rows = image * CLASSES..(image + 1) * CLASSES;
            let mut classes: Vec<Detection> = rows.map(found).collect();
            classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            let background = &background[image * BACKGROUNDS..][..BACKGROUNDS];
            Self { classes, background: Background::ALL[largest(background)] }
        };
        (0..images).map(prediction).collect()
    }

    /// The classes that are present, the most likely one first.
    pub fn present(&self) -> impl Iterator<Item = &Detection> {
        self.classes.iter().filter(|found| found.probability >= PRESENT)
    }

    /// The class, if it is present.
    pub fn find(&self, class: Class) -> Option<&Detection> {
        self.present().find(|found| found.class == class)
    }

    /// The two most likely classes that are present, and their relation.
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
    let indices = 0..numbers.len();
    indices.max_by(|a, b| numbers[*a].total_cmp(&numbers[*b])).expect("a table has entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: Class, probability: f32, centre: (f32, f32)) -> Detection {
        Detection { class, probability, colour: Colour::Red, pattern: Pattern::Plain, centre }
    }

    #[test]
    fn the_relation_is_that_of_the_two_most_likely_classes() {
        let star = detection(Class::Star, 0.9, (0.5, 0.8));
        let hat = detection(Class::Hat, 0.8, (0.4, 0.2));
        let cat = detection(Class::Cat, 0.4, (0.1, 0.5));
        let background = Background::City;
        let prediction = Prediction { classes: vec![star, hat, cat], background };
        assert_eq!(prediction.present().count(), 2);
        assert_eq!((prediction.find(Class::Hat), prediction.find(Class::Cat)), (Some(&hat), None));
        assert_eq!(prediction.relation(), Some((Class::Star, Relation::Below, Class::Hat)));
        let alone = Prediction { classes: vec![star, cat], background };
        assert_eq!(alone.relation(), None);
    }
}
