//! The training targets of the classifier, made from the ground truth of images.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::classifier::{Attribute, BACKGROUNDS, number_of};
use crate::world::{Background, Bounds, Class, Individual, ObjectTruth, Truth};

/// Targets of a detector with `cells` cells per image. What does not apply is a row of zeros, which
/// contributes 0 to a cross-entropy.
#[derive(Debug, Clone)]
pub struct Targets<B: Backend> {
    /// 1 where the centre of an object lies: `[batch, cells]`
    pub centre: Tensor<B, 2>,
    /// 1 where that is to be learnt, 0 in the cells around a centre, which are neither: `[batch, cells]`
    pub counts: Tensor<B, 2>,
    /// x and y of the centre within its cell, 0 to 1: `[batch, cells, 2]`
    pub offset: Tensor<B, 3>,
    /// The values of all attributes in the cell of the centre and the cells around it:
    /// `[batch, cells, Attribute::total()]`
    pub attributes: Tensor<B, 3>,
    /// The individual, in the same cells: `[batch, cells, individuals]`
    pub identity: Tensor<B, 3>,
    /// `[batch, backgrounds]`
    pub background: Tensor<B, 2>,
}

impl<B: Backend> Targets<B> {
    /// The targets of images for `side × side` cells.
    pub fn new(truths: &[Truth], side: usize, device: &B::Device) -> Self {
        let (batch, cells) = (truths.len(), side * side);
        let mut centre = Table::new([batch, cells]);
        let mut counts = Table::filled([batch, cells], 1.0);
        let mut offset = Table::new([batch, cells, 2]);
        let mut attributes = Table::new([batch, cells, Attribute::total()]);
        let mut identity = Table::new([batch, cells, Individual::COUNT]);
        let mut background = Table::new([batch, BACKGROUNDS]);
        for (row, truth) in truths.iter().enumerate() {
            background.add([row, number_of(&Background::ALL, truth.background)], 1.0);
            let places: Vec<Place> = truth.objects.iter().map(|o| Place::of(o, side)).collect();
            for (object, place) in truth.objects.iter().zip(&places) {
                centre.set([row, place.cell], 1.0);
                offset.set([row, place.cell, 0], place.x);
                offset.set([row, place.cell, 1], place.y);
                for cell in around(place.cell, side) {
                    // Cells between two objects belong to neither.
                    if places.iter().filter(|p| around(p.cell, side).any(|c| c == cell)).count() > 1
                    {
                        continue;
                    }
                    for attribute in Attribute::ALL {
                        if let Some(value) = attribute.value(object.class, &object.look) {
                            attributes.set([row, cell, attribute.offset() + value], 1.0);
                        }
                    }
                    if let Some(individual) = object.individual {
                        identity.set([row, cell, individual], 1.0);
                    }
                }
            }
            for cell in places.iter().flat_map(|place| around(place.cell, side)) {
                let is_centre = places.iter().any(|place| place.cell == cell);
                counts.set([row, cell], if is_centre { 1.0 } else { 0.0 });
            }
        }
        Self {
            centre: centre.tensor(device),
            counts: counts.tensor(device),
            offset: offset.tensor(device),
            attributes: attributes.tensor(device),
            identity: identity.tensor(device),
            background: background.tensor(device),
        }
    }
}

/// The cell of an object's centre, and where in it the centre is.
struct Place {
    cell: usize,
    x: f32,
    y: f32,
}

impl Place {
    fn of(object: &ObjectTruth, side: usize) -> Self {
        let (x, y) = object.bounds.centre();
        let split = |at: f32| {
            let at = at.clamp(0.0, 0.999) * side as f32;
            (at as usize, at.fract())
        };
        let ((column, x), (row, y)) = (split(x), split(y));
        Self { cell: row * side + column, x, y }
    }
}

/// A cell and the cells around it.
fn around(cell: usize, side: usize) -> impl Iterator<Item = usize> {
    let near = move |at: usize| at.saturating_sub(1)..=(at + 1).min(side - 1);
    near(cell / side).flat_map(move |y| near(cell % side).map(move |x| y * side + x))
}

/// The share of each patch that the bounding boxes of each class cover, 0 to 1, for `side × side`
/// patches, row by row: `[batch, patches, classes]`.
pub fn covered<B: Backend>(truths: &[Truth], side: usize, device: &B::Device) -> Tensor<B, 3> {
    covered_by(truths, side, Class::ALL.len(), |o| Some(number_of(&Class::ALL, o.class)), device)
}

/// The same for objects of each label: `[batch, patches, labels]`. An object without a label covers
/// nothing.
pub fn covered_by<B: Backend>(
    truths: &[Truth],
    side: usize,
    labels: usize,
    label: impl Fn(&ObjectTruth) -> Option<usize>,
    device: &B::Device,
) -> Tensor<B, 3> {
    let mut table = Table::new([truths.len(), side * side, labels]);
    let edge = |at: usize| at as f32 / side as f32;
    for (row, truth) in truths.iter().enumerate() {
        for (patch, object) in
            (0..side * side).flat_map(|p| truth.objects.iter().map(move |s| (p, s)))
        {
            let (x, y) = (patch % side, patch / side);
            let square =
                Bounds { left: edge(x), top: edge(y), right: edge(x + 1), bottom: edge(y + 1) };
            if let Some(label) = label(object) {
                table.add([row, patch, label], square.overlap(&object.bounds));
            }
        }
    }
    table.tensor(device)
}

/// The values of a tensor.
struct Table<const D: usize> {
    shape: [usize; D],
    values: Vec<f32>,
}

impl<const D: usize> Table<D> {
    fn new(shape: [usize; D]) -> Self {
        Self::filled(shape, 0.0)
    }

    fn filled(shape: [usize; D], value: f32) -> Self {
        Self { shape, values: vec![value; shape.iter().product()] }
    }

    fn at(&mut self, at: [usize; D]) -> &mut f32 {
        let flat = at.iter().zip(&self.shape).fold(0, |flat, (at, size)| flat * size + at);
        &mut self.values[flat]
    }

    fn add(&mut self, at: [usize; D], value: f32) {
        *self.at(at) += value;
    }

    fn set(&mut self, at: [usize; D], value: f32) {
        *self.at(at) = value;
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

    fn truth(objects: Vec<ObjectDescription>) -> Truth {
        Description { objects, ..Description::default() }.scene(&Seed::new(2), 0).truth()
    }

    #[test]
    fn an_object_covers_the_area_of_its_bounding_box() {
        let truth = truth(vec![ObjectDescription::any(Class::Boat)]);
        let bounds = truth.objects[0].bounds;
        let covered: Tensor<Flex, 3> = covered(&[truth], 8, &Default::default());
        let mean = sum(&covered) / 64.0;
        assert!((mean - bounds.width() * bounds.height()).abs() < 1e-4, "{mean}");
    }

    #[test]
    fn two_objects_have_two_centres_and_their_own_values() {
        let mug = ObjectDescription::individual(Individual::of(7));
        let truth = truth(vec![mug, ObjectDescription::any(Class::Mug)]);
        let targets = Targets::<Flex>::new(&[truth], 8, &Default::default());
        assert_eq!(sum(&targets.centre), 2.0);
        assert_eq!(sum(&(targets.centre.clone() * targets.counts)), 2.0);
        // The individual in up to nine cells around its centre.
        let cells = sum(&targets.identity);
        assert!((1.0..=9.0).contains(&cells), "{cells}");
        let classes = targets.attributes.narrow(2, 0, Attribute::Class.count());
        assert!(sum(&classes) > cells);
    }
}
