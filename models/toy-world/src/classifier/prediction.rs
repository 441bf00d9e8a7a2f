//! What the classifier finds in an image.

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};
use serde::{Deserialize, Serialize};

use super::attributes::Attribute;
use super::model::ClassifierOutput;
use crate::world::{Background, Class, Colour, Look, Marking};

/// The probability from which on an object counts as found.
pub const PRESENT: f32 = 0.5;

/// Scenes have one or two objects; more detections than this are noise.
const MOST: usize = 4;

/// An object that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The probability that there is an object, 0 to 1.
    pub probability: f32,
    /// Its most likely class.
    pub class: Class,
    /// The most likely value of each attribute of its look.
    pub look: Look,
    /// The centre of its bounding box, x and y in unit coordinates.
    pub centre: (f32, f32),
    /// Its identity embedding, of length one.
    pub embedding: Vec<f32>,
}

/// The classifier's prediction for an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The objects that were found, the most likely one first.
    pub objects: Vec<Detection>,
    /// The most likely background.
    pub background: Background,
}

impl Prediction {
    /// A prediction for each image of a batch.
    pub fn of<B: Backend>(output: &ClassifierOutput<B>) -> Vec<Self> {
        let [images, cells] = output.centre.dims();
        let grid = Grid {
            side: cells.isqrt(),
            probability: numbers(sigmoid(output.centre.clone())),
            offset: numbers(output.offset.clone()),
            values: Attribute::ALL.map(|a| largest(numbers(output.logits(a)), a.count())),
            embedding: numbers(output.embedding.clone()),
            width: output.embedding.dims()[2],
        };
        let background = largest(numbers(output.background.clone()), Background::ALL.len());
        let prediction = |image: usize| {
            let mut objects: Vec<Detection> = (0..cells)
                .filter(|cell| grid.is_peak(image, *cell))
                .map(|cell| grid.detection(image, cell))
                .collect();
            objects.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            objects.truncate(MOST);
            Self { objects, background: Background::ALL[background[image]] }
        };
        (0..images).map(prediction).collect()
    }
}

/// The outputs of all heads as numbers, image by image and cell by cell.
struct Grid {
    side: usize,
    probability: Vec<f32>,
    offset: Vec<f32>,
    values: [Vec<usize>; Attribute::ALL.len()],
    embedding: Vec<f32>,
    width: usize,
}

impl Grid {
    /// Whether a cell is likely to hold a centre, and more so than its eight neighbours.
    fn is_peak(&self, image: usize, cell: usize) -> bool {
        let (side, first) = (self.side, image * self.side * self.side);
        let (x, y) = (cell % side, cell / side);
        let own = self.probability[first + cell];
        let near = |at: usize| at.saturating_sub(1)..=(at + 1).min(side - 1);
        let mut others = near(y).flat_map(|y| near(x).map(move |x| y * side + x));
        // Of two equal neighbours the first is the peak.
        own >= PRESENT
            && others.all(|other| {
                let others = self.probability[first + other];
                own > others || (own == others && cell <= other)
            })
    }

    fn detection(&self, image: usize, cell: usize) -> Detection {
        let at = image * self.side * self.side + cell;
        let value = |attribute: usize| self.values[attribute][at];
        let place = |cell: usize, offset: f32| (cell as f32 + offset) / self.side as f32;
        let [class, main, second, third, marking, marked, variant] = std::array::from_fn(value);
        let look = Look {
            variant,
            main: Colour::ALL[main],
            second: Colour::ALL[second],
            third: Colour::ALL[third],
            marking: Marking::ALL[marking],
            marked: Colour::ALL[marked],
        };
        let centre = (
            place(cell % self.side, self.offset[2 * at]),
            place(cell / self.side, self.offset[2 * at + 1]),
        );
        let embedding = self.embedding[at * self.width..][..self.width].to_vec();
        Detection {
            probability: self.probability[at],
            class: Class::ALL[class],
            look,
            centre,
            embedding,
        }
    }
}

fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The place of the largest number in each row of `width` numbers.
fn largest(numbers: Vec<f32>, width: usize) -> Vec<usize> {
    let place = |row: &[f32]| {
        (0..width).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a table has entries")
    };
    numbers.chunks_exact(width).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(side: usize, probability: &[f32]) -> Grid {
        let cells = side * side;
        Grid {
            side,
            probability: probability.to_vec(),
            offset: vec![0.5; 2 * cells],
            values: Attribute::ALL.map(|_| vec![0; cells]),
            embedding: vec![1.0; cells],
            width: 1,
        }
    }

    #[test]
    fn a_peak_is_above_its_neighbours() {
        let mut probability = [0.1; 16];
        (probability[0], probability[1], probability[11], probability[15]) = (0.9, 0.8, 0.6, 0.4);
        let grid = grid(4, &probability);
        let peaks: Vec<usize> = (0..16).filter(|cell| grid.is_peak(0, *cell)).collect();
        assert_eq!(peaks, [0, 11]);
        assert_eq!(grid.detection(0, 11).centre, (3.5 / 4.0, 2.5 / 4.0));
    }
}
