//! Convolution. The value and the gradient at the image are products with panels of patches, and
//! the gradient at the weights is one with blocks of patches.

mod geometry;
mod product;

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use self::geometry::Geometry;
use self::product::{Kernels, products};
use super::matrix::{Cores, Dense, Matrix};
use super::transpose::contiguous;
use super::{Tuned, new_tensor, slice};
use crate::conv2d::Conv2d;
use crate::operation::Gradients;

/// Floats in a block of patches: 2 MB, a core's share of the second-level cache.
const BLOCK: usize = 1 << 19;

impl Tuned for Conv2d {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        convolve(self, &x[0], &x[1], Some(&x[2]))
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        convolve(self, dx[0].as_ref().expect("only x has a tangent"), &x[1], None)
    }

    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, wanted: &[bool]) -> Gradients<Flex> {
        let (x, weight, g) = (contiguous(&x[0]), contiguous(&x[1]), contiguous(&g));
        let sizes = Geometry::new(self, &x, &weight);
        vec![
            wanted[0].then(|| input_gradient(&sizes, &weight, &g)),
            wanted[1].then(|| weight_gradient(&sizes, &x, &g)),
            wanted[2].then(|| bias_gradient(&sizes, &g)),
        ]
    }

    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        _: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        // ẏ = W ⋆ ẋ does not depend on x.
        let zeros = wanted[0].then(|| FlexTensor::zeros(super::shape_of(&x[0]), x[0].dtype()));
        let mut at_dx = self.adjoint(x, h, &[wanted[3], false, false]);
        vec![zeros, None, None, at_dx.remove(0), None, None]
    }
}

fn convolve(
    options: &Conv2d,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let sizes = Geometry::new(options, &x, &weight);
    products(&sizes, slice(&x), Kernels::Stored(slice(&weight)), bias.as_ref().map(slice))
}

/// g convolved with the flipped kernels, inputs and outputs exchanged.
fn input_gradient(sizes: &Geometry, weight: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (transposed, weight) = (sizes.transposed(), Kernels::Exchanged(slice(weight)));
    match sizes.stride {
        1 => products(&transposed, slice(g), weight, None),
        _ => products(&transposed, &sizes.spread(slice(g)), weight, None),
    }
}

/// The sum over images of g patchesᵀ, with a block of input channels per task.
fn weight_gradient(sizes: &Geometry, x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (taps, [from, to]) = (sizes.taps(), sizes.pixels());
    let share = sizes.inputs.div_ceil(2 * rayon::current_num_threads());
    let most = (BLOCK / (taps * to)).max(1);
    let size = share.min(most);
    let starts: Vec<usize> = (0..sizes.inputs).step_by(size).collect();
    let pieces = sizes.pieces(0..to, to);
    let blocks: Vec<Dense> = starts
        .into_par_iter()
        .map(|start| {
            let count = size.min(sizes.inputs - start);
            let mut patches = vec![0.0; count * taps * to];
            let mut sum = Dense::zeros(sizes.outputs, count * taps);
            for image in 0..sizes.batch {
                let x = &slice(x)[(image * sizes.inputs + start) * from..][..count * from];
                sizes.gather(&pieces, x, &mut patches, to);
                let patches = Matrix::new(&patches, count * taps, to);
                let g = &slice(g)[image * sizes.outputs * to..][..sizes.outputs * to];
                let g = Matrix::new(g, sizes.outputs, to);
                g.add_times(patches.t(), &mut sum, Cores::One);
            }
            sum
        })
        .collect();
    let mut gradient = Vec::with_capacity(sizes.outputs * sizes.inputs * taps);
    for output in 0..sizes.outputs {
        for Dense { values, columns, .. } in &blocks {
            gradient.extend_from_slice(&values[output * columns..][..*columns]);
        }
    }
    new_tensor(gradient, [sizes.outputs, sizes.inputs, sizes.kernel, sizes.kernel])
}

fn bias_gradient(sizes: &Geometry, g: &FlexTensor) -> FlexTensor {
    let pixels = sizes.pixels()[1];
    let mut sums = vec![0.0; sizes.outputs];
    for image in slice(g).chunks(sizes.outputs * pixels) {
        for (total, channel) in sums.iter_mut().zip(image.chunks(pixels)) {
            *total += super::elementwise::sum([channel], |[g]| g);
        }
    }
    new_tensor(sums, [sizes.outputs])
}
