//! Convolutions on GPUs: products with patches, which are gathered for a limited number of pixels at a time.
//!
//! ```text
//! y = W P(x) + b,   Wᵀ g scattered back at x,   Σ g P(x)ᵀ at W,   Σ g at b
//! ```
//!
//! with W `[outputs, inputs × taps]` and the patches P(x) `[batch, inputs × taps, pixels]`. Where a kernel has one tap, the
//! patches are x itself.

use burn::tensor::{Shape, TensorMetadata};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::{into_contiguous, slice};
use burn_cubecl::ops::numeric::{add, ones_client, zeros_client};
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::matmul::product;
use super::strided::{Strided, contiguous, strided};
use super::{Gradients, Tuned, dims, empty_like, unit_each};
use crate::conv2d::Conv2d;

/// The most numbers of gathered patches: 64 MB in f32. At 512 pixels most layers of Stable Diffusion's UNet have fewer for an
/// image, the largest has 35 million (960 inputs at 64 × 64), and the VAE's have hundreds of millions.
const PATCHES: usize = 1 << 24;

impl Tuned for Conv2d {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        Sizes::new(self, &x[0], &x[1]).convolve(&x[0], &x[1], Some(&x[2]))
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        let dx = dx[0].as_ref().expect("only x has a tangent");
        Sizes::new(self, dx, &x[1]).convolve(dx, &x[1], None)
    }

    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let sizes = Sizes::new(self, &x[0], &x[1]);
        let g = reshaped(&g, [sizes.batch, sizes.outputs, sizes.pixels()]);
        vec![
            wanted[0].then(|| sizes.input_gradient(&x[1], &g)),
            wanted[1].then(|| sizes.weight_gradient(&x[0], &g)),
            wanted[2].then(|| sizes.bias_gradient(&g)),
        ]
    }

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        _: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        // ẏ = W ⋆ ẋ does not depend on x.
        let zeros = wanted[0].then(|| zeros(&x[0], x[0].shape()));
        let mut at_dx = self.adjoint(x, h, &[wanted[3], false, false]);
        vec![zeros, None, None, at_dx.remove(0), None, None]
    }
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    options: Conv2d,
    batch: usize,
    inputs: usize,
    outputs: usize,
    /// Taps in one direction.
    kernel: usize,
    /// Height and width of x.
    from: [usize; 2],
    /// Height and width of y.
    to: [usize; 2],
}

impl Sizes {
    fn new<R: CubeRuntime>(options: &Conv2d, x: &CubeTensor<R>, weight: &CubeTensor<R>) -> Self {
        let ([batch, inputs, height, width], [outputs, _, kernel, _]) = (dims(x), dims(weight));
        let Conv2d { stride, padding } = *options;
        let to = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        let (from, to) = ([height, width], [to(height), to(width)]);
        Self { options: *options, batch, inputs, outputs, kernel, from, to }
    }

    /// Rows of the patches.
    fn depth(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Pixels of an image of y.
    fn pixels(&self) -> usize {
        self.to[0] * self.to[1]
    }

    /// Whether patches are x itself.
    fn is_pointwise(&self) -> bool {
        let Conv2d { stride, padding } = self.options;
        (self.kernel, stride, padding) == (1, 1, 0)
    }

    /// Starts and lengths of the ranges of pixels whose patches are gathered at once.
    fn ranges(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let pixels = self.pixels();
        let most = PATCHES / (self.batch * self.depth()).max(1);
        let most = if self.is_pointwise() { pixels } else { most.clamp(1, pixels) };
        (0..pixels).step_by(most).map(move |first| [first, most.min(pixels - first)])
    }

    fn convolve<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        weight: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
    ) -> CubeTensor<R> {
        let weight = reshaped(weight, [1, self.outputs, self.depth()]);
        let [height, width] = self.to;
        let shape = [self.batch, self.outputs, height, width];
        let whole = |range: &[usize; 2]| range[1] == self.pixels();
        if let Some(range) = self.ranges().find(whole).filter(|_| bias.is_none()) {
            return reshaped(&product(&weight, &self.gather(x, range)), shape);
        }
        let y = empty_like(x, shape);
        for range in self.ranges() {
            let part = product(&weight, &self.gather(x, range));
            let (cubes, cube) = unit_each(&y, part.meta.num_elements());
            place_kernel::launch(
                &y.client,
                cubes,
                cube,
                contiguous(&part),
                bias.map(contiguous).into(),
                strided(&y),
                range[0],
                y.dtype.into(),
            );
        }
        y
    }

    fn input_gradient<R: CubeRuntime>(
        &self,
        weight: &CubeTensor<R>,
        g: &CubeTensor<R>,
    ) -> CubeTensor<R> {
        let weight = permute(reshaped(weight, [1, self.outputs, self.depth()]), &[0, 2, 1]);
        let [height, width] = self.from;
        let shape = [self.batch, self.inputs, height, width];
        if self.is_pointwise() {
            return reshaped(&product(&weight, g), shape);
        }
        let at_x = empty_like(g, shape);
        for range in self.ranges() {
            let patches = product(&weight, &self.part(g, range));
            let (cubes, cube) = unit_each(&at_x, at_x.meta.num_elements());
            let Conv2d { stride, padding } = self.options;
            scatter_kernel::launch(
                &at_x.client,
                cubes,
                cube,
                contiguous(&patches),
                strided(&at_x),
                range[0],
                self.to[0],
                self.to[1],
                range[0] == 0,
                self.kernel,
                stride,
                padding,
                at_x.dtype.into(),
            );
        }
        at_x
    }

    fn weight_gradient<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        g: &CubeTensor<R>,
    ) -> CubeTensor<R> {
        let ranges = self.ranges().map(|range| {
            let patches = permute(self.gather(x, range), &[0, 2, 1]);
            sum_of_images(product(&self.part(g, range), &patches))
        });
        let sum = ranges.reduce(add).expect("an image has pixels");
        reshaped(&sum, [self.outputs, self.inputs, self.kernel, self.kernel])
    }

    fn bias_gradient<R: CubeRuntime>(&self, g: &CubeTensor<R>) -> CubeTensor<R> {
        let shape = [1, self.pixels(), 1].into();
        let ones = ones_client(g.client.clone(), g.device.clone(), shape, g.dtype);
        reshaped(&sum_of_images(product(g, &ones)), [self.outputs])
    }

    /// The patches `[batch, inputs × taps, pixels]` of a range of pixels.
    fn gather<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        [first, count]: [usize; 2],
    ) -> CubeTensor<R> {
        let shape = [self.batch, self.depth(), count];
        if self.is_pointwise() {
            return reshaped(x, shape);
        }
        let patches = empty_like(x, shape);
        let (cubes, cube) = unit_each(x, patches.meta.num_elements());
        let Conv2d { stride, padding } = self.options;
        gather_kernel::launch(
            &x.client,
            cubes,
            cube,
            strided(x),
            strided(&patches),
            first,
            self.to[1],
            self.kernel,
            stride,
            padding,
            x.dtype.into(),
        );
        patches
    }

    /// g `[batch, outputs, pixels]` at a range of pixels.
    fn part<R: CubeRuntime>(&self, g: &CubeTensor<R>, [first, count]: [usize; 2]) -> CubeTensor<R> {
        match count == self.pixels() {
            true => g.clone(),
            false => slice(g.clone(), &[0..self.batch, 0..self.outputs, first..first + count]),
        }
    }
}

/// The same numbers, row by row, in another shape.
fn reshaped<R: CubeRuntime>(t: &CubeTensor<R>, shape: impl Into<Shape>) -> CubeTensor<R> {
    reshape(into_contiguous(t.clone()), shape.into())
}

fn zeros<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    zeros_client(like.client.clone(), like.device.clone(), shape, like.dtype)
}

/// The sum over the first of three dimensions.
fn sum_of_images<R: CubeRuntime>(t: CubeTensor<R>) -> CubeTensor<R> {
    let [images, rows, columns] = dims(&t);
    let image = |number: usize| slice(t.clone(), &[number..number + 1, 0..rows, 0..columns]);
    (0..images).map(image).reduce(add).expect("a batch is not empty")
}

/// A unit gathers one number of the patches. A kernel reaches over the edges of x into `padding` zeros.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "the arguments of a kernel")]
fn gather_kernel<F: Float>(
    x: &Strided<F>,
    patches: &mut Strided<F>,
    first: usize,
    width: usize,
    #[comptime] kernel: usize,
    #[comptime] stride: usize,
    #[comptime] padding: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= patches.values.len() {
        terminate!();
    }
    let count = patches.shape(2usize);
    let depth = patches.shape(1usize);
    let pixel = first + ABSOLUTE_POS % count;
    let row = ABSOLUTE_POS / count % depth;
    let image = ABSOLUTE_POS / count / depth;
    let tap = row % comptime!(kernel * kernel);
    let channel = row / comptime!(kernel * kernel);
    // In coordinates that begin in the padding.
    let y = pixel / width * stride + tap / kernel;
    let x_at = pixel % width * stride + tap % kernel;
    let inside_y = y >= padding && y < x.shape(2usize) + padding;
    let inside_x = x_at >= padding && x_at < x.shape(3usize) + padding;
    let mut value = F::cast_from(0.0f32);
    if inside_y && inside_x {
        let at = image * x.stride(0usize) + channel * x.stride(1usize);
        value =
            x.values[at + (y - padding) * x.stride(2usize) + (x_at - padding) * x.stride(3usize)];
    }
    patches.values[ABSOLUTE_POS] = value;
}

/// A unit sums what the patches of a range of pixels hold of one number of x, and adds it to those of earlier ranges.
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "the arguments of a kernel")]
#[expect(clippy::manual_is_multiple_of, reason = "kernels have no such method")]
fn scatter_kernel<F: Float>(
    patches: &Strided<F>,
    x: &mut Strided<F>,
    first: usize,
    height: usize,
    width: usize,
    #[comptime] fresh: bool,
    #[comptime] kernel: usize,
    #[comptime] stride: usize,
    #[comptime] padding: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= x.values.len() {
        terminate!();
    }
    let x_at = ABSOLUTE_POS % x.shape(3usize) + padding;
    let y_at = ABSOLUTE_POS / x.shape(3usize) % x.shape(2usize) + padding;
    let channel = ABSOLUTE_POS / x.shape(3usize) / x.shape(2usize) % x.shape(1usize);
    let image = ABSOLUTE_POS / x.shape(3usize) / x.shape(2usize) / x.shape(1usize);
    let count = patches.shape(2usize);
    let row = channel * comptime!(kernel * kernel);
    let mut sum = if fresh { 0.0f32.runtime() } else { f32::cast_from(x.values[ABSOLUTE_POS]) };
    for tap_y in 0..kernel {
        for tap_x in 0..kernel {
            // The pixel of which this tap of the kernel lies here, if there is one.
            let reaches = y_at >= tap_y && x_at >= tap_x;
            if reaches && (y_at - tap_y) % stride == 0 && (x_at - tap_x) % stride == 0 {
                let y = (y_at - tap_y) / stride;
                let x = (x_at - tap_x) / stride;
                let pixel = y * width + x;
                if y < height && x < width && pixel >= first && pixel < first + count {
                    let at = (image * patches.shape(1usize) + row + tap_y * kernel + tap_x) * count;
                    sum += f32::cast_from(patches.values[at + pixel - first]);
                }
            }
        }
    }
    x.values[ABSOLUTE_POS] = F::cast_from(sum);
}

/// A unit puts one number of a range of pixels, with the bias of its channel, where it belongs in y.
#[cube(launch)]
fn place_kernel<F: Float>(
    part: &Strided<F>,
    bias: &ComptimeOption<Strided<F>>,
    y: &mut Strided<F>,
    first: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= part.values.len() {
        terminate!();
    }
    let count = part.shape(2usize);
    let row = ABSOLUTE_POS / count;
    let channel = row % part.shape(1usize);
    let mut value = f32::cast_from(part.values[ABSOLUTE_POS]);
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => {
            value += f32::cast_from(bias.values[channel]);
        }
        ComptimeOption::None => {}
    }
    let pixels = y.shape(2usize) * y.shape(3usize);
    y.values[row * pixels + first + ABSOLUTE_POS % count] = F::cast_from(value);
}
