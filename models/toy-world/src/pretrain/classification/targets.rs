//! The training targets of the classifier, made from the ground truth of images.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::classifier::{BACKGROUNDS, CLASSES, COLOURS, PATTERNS};
use crate::world::{Background, Bounds, Class, Colour, Individual, ObjectTruth, Pattern, Truth};

/// Target distributions. An attribute that does not apply, such as the colour of a class that is
/// not present, is a row of zeros, which contributes 0 to a cross-entropy.
#[derive(Debug, Clone)]
pub struct Targets<B: Backend> {
    /// 1 for each class that is present: `[batch, classes]`
    pub present: Tensor<B, 2>,
    /// `[batch, classes, colours]`
    pub colour: Tensor<B, 3>,
    /// `[batch, classes, patterns]`
    pub pattern: Tensor<B, 3>,
    /// x and y, `[batch, classes, 2]`
    pub centre: Tensor<B, 3>,
    /// `[batch, backgrounds]`
    pub background: Tensor<B, 2>,
    /// The uniform distribution over the individuals of an image, or over all individuals where
    /// there is none, so that ordinary objects are similar to no individual: `[batch, individuals]`
    pub identity: Tensor<B, 2>,
}

impl<B: Backend> Targets<B> {
    /// The targets of images.
    pub fn new(truths: &[Truth], device: &B::Device) -> Self {
        let batch = truths.len();
        let mut present = Table::new([batch, CLASSES]);
        let mut colour = Table::new([batch, CLASSES, COLOURS]);
        let mut pattern = Table::new([batch, CLASSES, PATTERNS]);
        let mut centre = Table::new([batch, CLASSES, 2]);
        let mut background = Table::new([batch, BACKGROUNDS]);
        let mut identity = Table::new([batch, Individual::COUNT]);
        for (row, truth) in truths.iter().enumerate() {
            background.add([row, index_of(&Background::ALL, truth.background)], 1.0);
            for object in &truth.objects {
                let class = index_of(&Class::ALL, object.class);
                present.add([row, class], 1.0);
                if let Some(named) = object.colour {
                    colour.add([row, class, index_of(&Colour::ALL, named)], 1.0);
                }
                if let Some(named) = object.pattern {
                    pattern.add([row, class, index_of(&Pattern::ALL, named)], 1.0);
                }
                let (x, y) = object.bounds.centre();
                centre.add([row, class, 0], x);
                centre.add([row, class, 1], y);
            }
            let individuals = truth.objects.iter().filter_map(|object| object.individual);
            let individuals: Vec<usize> = match individuals.collect::<Vec<_>>() {
                none if none.is_empty() => (0..Individual::COUNT).collect(),
                some => some,
            };
            for individual in &individuals {
                identity.add([row, *individual], 1.0 / individuals.len() as f32);
            }
        }
        Self {
            present: present.tensor(device),
            colour: colour.tensor(device),
            pattern: pattern.tensor(device),
            centre: centre.tensor(device),
            background: background.tensor(device),
            identity: identity.tensor(device),
        }
    }
}

/// The share of each patch that the bounding boxes of each class cover, 0 to 1, for `side × side`
/// patches, row by row: `[batch, patches, classes]`.
pub fn covered<B: Backend>(truths: &[Truth], side: usize, device: &B::Device) -> Tensor<B, 3> {
    covered_by(truths, side, &Class::ALL, |object| Some(object.class), device)
}

/// The same for objects of each label: `[batch, patches, labels]`. An object without a label covers
/// nothing.
pub fn covered_by<B: Backend, T: PartialEq>(
    truths: &[Truth],
    side: usize,
    labels: &[T],
    label: impl Fn(&ObjectTruth) -> Option<T>,
    device: &B::Device,
) -> Tensor<B, 3> {
    let mut table = Table::new([truths.len(), side * side, labels.len()]);
    let edge = |at: usize| at as f32 / side as f32;
    for (row, truth) in truths.iter().enumerate() {
        for (patch, object) in
            (0..side * side).flat_map(|p| truth.objects.iter().map(move |s| (p, s)))
        {
            let (x, y) = (patch % side, patch / side);
            let square =
                Bounds { left: edge(x), top: edge(y), right: edge(x + 1), bottom: edge(y + 1) };
            if let Some(label) = label(object) {
                table.add([row, patch, index_of(labels, label)], square.overlap(&object.bounds));
            }
        }
    }
    table.tensor(device)
}

/// The index of an item in a table that contains it.
fn index_of<T: PartialEq>(all: &[T], item: T) -> usize {
    all.iter().position(|other| *other == item).expect("the table is complete")
}

/// The values of a tensor, initially zeros.
struct Table<const D: usize> {
    shape: [usize; D],
    values: Vec<f32>,
}

impl<const D: usize> Table<D> {
    fn new(shape: [usize; D]) -> Self {
        Self { shape, values: vec![0.0; shape.iter().product()] }
    }

    fn add(&mut self, at: [usize; D], value: f32) {
        let flat = at.iter().zip(&self.shape).fold(0, |flat, (at, size)| flat * size + at);
        self.values[flat] += value;
    }

    fn tensor<B: Backend>(self, device: &B::Device) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(self.values, self.shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Description, ObjectDescription, Seed};
    use seqlora_kernels::Flex;

    fn sum<const D: usize>(tensor: &Tensor<Flex, D>) -> f32 {
        tensor.clone().sum().into_scalar()
    }

    #[test]
    fn an_object_covers_the_area_of_its_bounding_box() {
        let description = Description {
            objects: vec![ObjectDescription::any(Class::Boat)],
            ..Description::default()
        };
        let truth = description.scene(&Seed::new(2), 0).truth();
        let bounds = truth.objects[0].bounds;
        let covered: Tensor<Flex, 3> = covered(&[truth], 8, &Default::default());
        let mean = sum(&covered) / 64.0;
        assert!((mean - bounds.width() * bounds.height()).abs() < 1e-4, "{mean}");
        let boats = covered.narrow(2, index_of(&Class::ALL, Class::Boat), 1).to_data();
        let (x, y) = bounds.centre();
        let patch = (y * 8.0) as usize * 8 + (x * 8.0) as usize;
        assert!((boats.iter::<f32>().nth(patch).unwrap() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn an_individual_has_a_centre_and_an_identity_but_no_named_colour() {
        let mug =
            ObjectDescription { colour: Some(Colour::Pink), ..ObjectDescription::any(Class::Mug) };
        let objects = vec![mug, ObjectDescription::individual(Individual::of(4))];
        let description = Description { objects, ..Description::default() };
        let truth = description.scene(&Seed::new(0), 0).truth();
        let targets = Targets::<Flex>::new(&[truth], &Default::default());
        assert_eq!((sum(&targets.present), sum(&targets.colour)), (2.0, 1.0));
        let at = |row: usize, column| targets.colour.clone().slice([0..1, row..row + 1, column]);
        assert_eq!(sum(&at(10, 6..7)), 1.0);
        assert_eq!(sum(&targets.identity.clone().slice([0..1, 4..5])), 1.0);
        assert!(sum(&targets.centre.slice([0..1, 4..5])) > 0.1);
    }

    #[test]
    fn an_image_without_individuals_has_a_uniform_identity() {
        let objects = vec![ObjectDescription::any(Class::Car)];
        let truth = Description { objects, ..Description::default() }.scene(&Seed::new(0), 0);
        let identity = Targets::<Flex>::new(&[truth.truth()], &Default::default()).identity;
        assert!((sum(&identity) - 1.0).abs() < 1e-5);
        assert_eq!(identity.max().into_scalar(), 1.0 / 128.0);
    }
}
