//! Convolution as matrix products with the image's patches, some input channels at a time: a
//! block of patches is small enough to stay in the cores' caches.

use std::ops::Range;

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::elementwise::{update, vectorized};
use super::matrix::{Cores, Dense, Matrix, product};
use super::{Tuned, contiguous, dims, new_tensor, slice};
use crate::conv2d::Conv2d;
use crate::operation::Gradients;

/// Floats in a block of patches: 2 MB, a core's share of the second-level cache.
const BLOCK: usize = 1 << 19;

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    batch: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Height and width of the input and of the output.
    from: [usize; 2],
    to: [usize; 2],
}

impl Geometry {
    fn new(options: &Conv2d, x: &FlexTensor, weight: &FlexTensor) -> Self {
        let [batch, inputs, height, width] = dims(x);
        let [outputs, _, kernel, _] = dims(weight);
        let Conv2d { stride, padding } = *options;
        let to = [height, width].map(|side| (side + 2 * padding - kernel) / stride + 1);
        Self { batch, inputs, outputs, kernel, stride, padding, from: [height, width], to }
    }

    /// Elements of a kernel.
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Pixels of an input and of an output channel.
    fn pixels(&self) -> [usize; 2] {
        [self.from, self.to].map(|[height, width]| height * width)
    }

    /// A kernel of one pixel takes the image as its patches.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// Starts and lengths of the blocks of input channels.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (inputs, taps, pixels) = (self.inputs, self.taps(), self.pixels()[1]);
        let size = (BLOCK / (taps * pixels)).clamp(1, inputs);
        (0..inputs).step_by(size).map(move |start| (start, size.min(inputs - start)))
    }

    /// Where tap (ky, kx) of output row y reads: the input row, the outputs x that lie inside and
    /// the first input column.
    #[inline(always)]
    fn run(&self, tap: usize, y: usize) -> Option<(usize, Range<usize>, usize)> {
        let (ky, kx) = (tap / self.kernel, tap % self.kernel);
        let row = (y * self.stride + ky).checked_sub(self.padding).filter(|r| *r < self.from[0])?;
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        // x stride + kx − padding < width
        let last = (self.from[1] + self.padding).checked_sub(kx + 1)? / self.stride + 1;
        let last = last.min(self.to[1]);
        (first < last).then(|| (row, first..last, first * self.stride + kx - self.padding))
    }

    /// Where the output is as large as the input, a tap's patch is the whole channel, moved: its
    /// elements, the input's, and the columns that come from beyond the edge.
    fn moved(&self, tap: usize) -> Option<[Range<usize>; 3]> {
        let ([height, width], padding) = (self.from, self.padding);
        if self.from != self.to || self.stride > 1 || padding >= width.min(height) {
            return None;
        }
        let (ky, kx) = (tap / self.kernel, tap % self.kernel);
        let (forward, back) = (ky * width + kx, padding * width + padding);
        let (ahead, behind) = (forward.saturating_sub(back), back.saturating_sub(forward));
        let count = height * width - ahead - behind;
        let beyond = if kx < padding { 0..padding - kx } else { width - (kx - padding)..width };
        Some([behind..behind + count, ahead..ahead + count, beyond])
    }

    /// Zero in some columns of a channel.
    #[inline(always)]
    fn clear(&self, values: &mut [f32], columns: &Range<usize>) {
        for column in columns.clone() {
            values.iter_mut().skip(column).step_by(self.to[1]).for_each(|x| *x = 0.0);
        }
    }

    /// Fills the patches of one input channel, `[taps, output pixels]`.
    fn gather(&self, channel: &[f32], patches: &mut [f32]) {
        let pixels = self.pixels()[1];
        for (tap, patch) in patches.chunks_exact_mut(pixels).enumerate() {
            match self.moved(tap) {
                Some([to, from, beyond]) => {
                    patch[..to.start].fill(0.0);
                    patch[to.end..].fill(0.0);
                    patch[to].copy_from_slice(&channel[from]);
                    self.clear(patch, &beyond);
                }
                None => self.gather_rows(tap, channel, patch),
            }
        }
    }

    fn gather_rows(&self, tap: usize, channel: &[f32], patch: &mut [f32]) {
        for (y, to) in patch.chunks_exact_mut(self.to[1]).enumerate() {
            let Some((row, inside, column)) = self.run(tap, y) else {
                to.fill(0.0);
                continue;
            };
            to[..inside.start].fill(0.0);
            to[inside.end..].fill(0.0);
            let from = channel[row * self.from[1] + column..].iter().step_by(self.stride);
            to[inside].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }

    /// The transpose of [`gather`](Self::gather): adds patches, which it may change, to their
    /// channel.
    fn scatter(&self, patches: &mut [f32], channel: &mut [f32]) {
        let pixels = self.pixels()[1];
        vectorized(
            #[inline(always)]
            || {
                for (tap, patch) in patches.chunks_exact_mut(pixels).enumerate() {
                    match self.moved(tap) {
                        Some([from, to, beyond]) => {
                            self.clear(patch, &beyond);
                            update(&mut channel[to], [&patch[from]], |to, [from]| to + from);
                        }
                        None => self.scatter_rows(tap, patch, channel),
                    }
                }
            },
        );
    }

    fn scatter_rows(&self, tap: usize, patch: &[f32], channel: &mut [f32]) {
        for (y, from) in patch.chunks_exact(self.to[1]).enumerate() {
            let Some((row, inside, column)) = self.run(tap, y) else { continue };
            let to = channel[row * self.from[1] + column..].iter_mut().step_by(self.stride);
            to.zip(&from[inside]).for_each(|(to, from)| *to += *from);
        }
    }
}

impl Tuned for Conv2d {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        convolve(self, &x[0], &x[1], Some(&x[2]))
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        convolve(self, dx[0].as_ref().expect("only x moves"), &x[1], None)
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
        // ẏ = W ⋆ ẋ depends on x not at all.
        let zeros = wanted[0].then(|| FlexTensor::zeros(super::shape_of(&x[0]), x[0].dtype()));
        let mut at_dx = self.adjoint(x, h, &[wanted[3], false, false]);
        vec![zeros, None, None, at_dx.remove(0), None, None]
    }
}

/// All cores on one image, or one core on each; the vector is room for patches.
fn each_image(
    sizes: &Geometry,
    values: &mut [f32],
    body: impl Fn(usize, &mut [f32], &mut Vec<f32>, Cores) + Sync,
) {
    let size = values.len() / sizes.batch;
    if sizes.batch >= rayon::current_num_threads() {
        let images = values.par_chunks_mut(size).enumerate();
        images.for_each_init(Vec::new, |room, (image, values)| {
            body(image, values, room, Cores::One);
        });
    } else {
        let mut room = Vec::new();
        for (image, values) in values.chunks_mut(size).enumerate() {
            body(image, values, &mut room, Cores::All);
        }
    }
}

/// Calls `body` for each channel of a block with its `size` elements.
fn each_channel(
    values: &mut [f32],
    size: usize,
    cores: Cores,
    body: impl Fn(usize, &mut [f32]) + Sync,
) {
    match cores {
        Cores::One => values.chunks_mut(size).enumerate().for_each(|(i, part)| body(i, part)),
        Cores::All => values.par_chunks_mut(size).enumerate().for_each(|(i, part)| body(i, part)),
    }
}

/// Calls `body` for each channel of a block, `size` elements, with its patches, `other` elements.
fn each_pair(
    values: &mut [f32],
    size: usize,
    patches: &mut [f32],
    other: usize,
    cores: Cores,
    body: impl Fn(&mut [f32], &mut [f32]) + Sync,
) {
    match cores {
        Cores::One => {
            let pairs = values.chunks_mut(size).zip(patches.chunks_mut(other));
            pairs.for_each(|(values, patches)| body(values, patches));
        }
        Cores::All => {
            let pairs = values.par_chunks_mut(size).zip(patches.par_chunks_mut(other));
            pairs.for_each(|(values, patches)| body(values, patches));
        }
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
    let (taps, [from, to]) = (sizes.taps(), sizes.pixels());
    let weight = Matrix::new(slice(&weight), sizes.outputs, sizes.inputs * taps);
    let mut y = vec![0.0; sizes.batch * sizes.outputs * to];
    each_image(&sizes, &mut y, |image, y, room, cores| {
        let x = &slice(&x)[image * sizes.inputs * from..][..sizes.inputs * from];
        if let Some(bias) = &bias {
            each_channel(y, to, cores, |channel, y| y.fill(slice(bias)[channel]));
        }
        if sizes.is_pointwise() {
            let x = Matrix::new(x, sizes.inputs, from);
            return product(y, to, weight, x, [1.0, 1.0], cores);
        }
        for (start, count) in sizes.blocks() {
            room.resize(count * taps * to, 0.0);
            each_channel(room, taps * to, cores, |channel, patches| {
                sizes.gather(&x[(start + channel) * from..][..from], patches);
            });
            let columns = weight.columns(start * taps, count * taps);
            let patches = Matrix::new(room, count * taps, to);
            let old = if start == 0 && bias.is_none() { 0.0 } else { 1.0 };
            product(y, to, columns, patches, [old, 1.0], cores);
        }
    });
    new_tensor(y, [sizes.batch, sizes.outputs, sizes.to[0], sizes.to[1]])
}

/// Wᵀ g, its patches added up.
fn input_gradient(sizes: &Geometry, weight: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (taps, [from, to]) = (sizes.taps(), sizes.pixels());
    let weight = Matrix::new(slice(weight), sizes.outputs, sizes.inputs * taps);
    let mut at_x = vec![0.0; sizes.batch * sizes.inputs * from];
    each_image(sizes, &mut at_x, |image, at_x, room, cores| {
        let g = &slice(g)[image * sizes.outputs * to..][..sizes.outputs * to];
        let g = Matrix::new(g, sizes.outputs, to);
        if sizes.is_pointwise() {
            return product(at_x, to, weight.t(), g, [0.0, 1.0], cores);
        }
        for (start, count) in sizes.blocks() {
            room.resize(count * taps * to, 0.0);
            let columns = weight.columns(start * taps, count * taps);
            product(room, to, columns.t(), g, [0.0, 1.0], cores);
            let channels = &mut at_x[start * from..][..count * from];
            each_pair(channels, from, room, taps * to, cores, |at_x, patches| {
                sizes.scatter(patches, at_x);
            });
        }
    });
    new_tensor(at_x, [sizes.batch, sizes.inputs, sizes.from[0], sizes.from[1]])
}

/// Σ over images of g patchesᵀ, a block of input channels per task.
fn weight_gradient(sizes: &Geometry, x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (taps, [from, to]) = (sizes.taps(), sizes.pixels());
    let share = sizes.inputs.div_ceil(2 * rayon::current_num_threads());
    let most = (BLOCK / (taps * to)).max(1);
    let size = share.min(most);
    let starts: Vec<usize> = (0..sizes.inputs).step_by(size).collect();
    let blocks: Vec<Dense> = starts
        .into_par_iter()
        .map(|start| {
            let count = size.min(sizes.inputs - start);
            let mut patches = vec![0.0; count * taps * to];
            let mut sum = Dense::zeros(sizes.outputs, count * taps);
            for image in 0..sizes.batch {
                let x = &slice(x)[image * sizes.inputs * from..][..sizes.inputs * from];
                each_channel(&mut patches, taps * to, Cores::One, |channel, patches| {
                    sizes.gather(&x[(start + channel) * from..][..from], patches);
                });
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
