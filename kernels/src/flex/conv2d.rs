//! Convolution as products of the weights with panels of the image's patches.

use std::ops::Range;

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::matrix::{Cores, Dense, Matrix};
use super::panel::{Rows, WIDTH, add_product};
use super::{Tuned, contiguous, dims, new_tensor, slice};
use crate::conv2d::Conv2d;
use crate::operation::Gradients;

/// Elements of a panel's columns that are gathered at once: 128 kB per panel.
const DEPTH: usize = 512;

/// Panels side by side: how often weights are used once they are in the cache.
const PANELS: usize = 4;

/// Rows of weights per product: 96 kB of [`DEPTH`] columns.
const ROWS: usize = 48;

/// Floats in a block of patches of a weight gradient: 2 MB, a core's share of the second-level
/// cache.
const BLOCK: usize = 1 << 19;

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    batch: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    /// Rows and columns of zeros on every side; where negative, what is cut off.
    padding: isize,
    /// Height and width of the input and of the output.
    from: [usize; 2],
    to: [usize; 2],
}

/// A run of patch elements: the same run of each channel.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: usize,
    to: usize,
    count: usize,
}

impl Geometry {
    fn new(options: &Conv2d, x: &FlexTensor, weight: &FlexTensor) -> Self {
        let [batch, inputs, height, width] = dims(x);
        let [outputs, _, kernel, _] = dims(weight);
        let Conv2d { stride, padding } = *options;
        let to = [height, width].map(|side| (side + 2 * padding - kernel) / stride + 1);
        let (padding, from) = (padding as isize, [height, width]);
        Self { batch, inputs, outputs, kernel, stride, padding, from, to }
    }

    /// Elements of a kernel.
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Elements of an output's patch.
    fn depth(&self) -> usize {
        self.inputs * self.taps()
    }

    /// Pixels of an input and of an output channel.
    fn pixels(&self) -> [usize; 2] {
        [self.from, self.to].map(|[height, width]| height * width)
    }

    /// Which outputs along one axis see the input at an offset into the kernel, and where the first
    /// of them sees it.
    fn inside(&self, offset: usize, from: usize, to: usize) -> (Range<usize>, usize) {
        let shift = offset as isize - self.padding;
        // 0 ≤ output · stride + shift < from
        let least = |input: isize| ((input - shift).max(0) as usize).div_ceil(self.stride);
        let first = least(0).min(to);
        let last = least(from as isize).clamp(first, to);
        (first..last, (first * self.stride).saturating_add_signed(shift))
    }

    /// Where the patches `[taps, width]` of some output pixels come from; elsewhere they are zero.
    fn pieces(&self, pixels: Range<usize>, width: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for tap in 0..self.taps() {
            let (rows, top) = self.inside(tap / self.kernel, self.from[0], self.to[0]);
            let (columns, left) = self.inside(tap % self.kernel, self.from[1], self.to[1]);
            let (first, last) = (pixels.start / self.to[1], pixels.end.div_ceil(self.to[1]));
            for row in rows.start.max(first)..rows.end.min(last) {
                let line = row * self.to[1];
                let start = (line + columns.start).max(pixels.start);
                let count = (line + columns.end).min(pixels.end).saturating_sub(start);
                let from = (top + (row - rows.start) * self.stride) * self.from[1]
                    + left
                    + (start - line).saturating_sub(columns.start) * self.stride;
                let to = tap * width + start - pixels.start;
                match pieces.last_mut() {
                    _ if count == 0 => {}
                    Some(piece) if self.continues(piece, from, to) => piece.count += count,
                    _ => pieces.push(Piece { from, to, count }),
                }
            }
        }
        pieces
    }

    fn continues(&self, piece: &Piece, from: usize, to: usize) -> bool {
        piece.from + piece.count * self.stride == from && piece.to + piece.count == to
    }

    /// Fills the patches of some channels, `[channels, taps, width]`; what no piece fills stays.
    fn gather(&self, pieces: &[Piece], channels: &[f32], patches: &mut [f32], width: usize) {
        let channels = channels.chunks_exact(self.pixels()[0]);
        for (channel, patches) in channels.zip(patches.chunks_exact_mut(self.taps() * width)) {
            for Piece { from, to, count } in pieces {
                let to = &mut patches[*to..][..*count];
                match self.stride {
                    1 => to.copy_from_slice(&channel[*from..][..*count]),
                    stride => {
                        let from = channel[*from..].iter().step_by(stride);
                        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }

    /// The convolution whose value on `g` is this one's gradient at x: the kernels turned around,
    /// the outputs `stride` pixels apart.
    fn transposed(&self) -> Self {
        let (kernel, padding) = (self.kernel as isize, self.padding);
        let from = self.from.map(|side| (side as isize + 2 * padding - kernel + 1) as usize);
        let (inputs, outputs) = (self.outputs, self.inputs);
        let padding = kernel - 1 - padding;
        Self { inputs, outputs, stride: 1, padding, from, to: self.from, ..*self }
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

/// The weights of a [`Geometry`], `[outputs, inputs, taps]`.
#[derive(Debug, Clone, Copy)]
enum Kernels<'a> {
    Stored(&'a [f32]),
    /// Those of the convolution that this one's is the gradient of: `[inputs, outputs, taps]`, the
    /// taps backwards.
    Turned(&'a [f32]),
}

impl<'a> Kernels<'a> {
    /// Some outputs' weights for some inputs; what has to be turned is put into `room`.
    fn rows(
        self,
        sizes: &Geometry,
        outputs: Range<usize>,
        inputs: Range<usize>,
        room: &'a mut Vec<f32>,
    ) -> Rows<'a> {
        let taps = sizes.taps();
        let depth = inputs.len() * taps;
        let values = match self {
            Self::Stored(values) => {
                let values = &values[outputs.start * sizes.depth() + inputs.start * taps..];
                return Rows { values, stride: sizes.depth(), depth };
            }
            Self::Turned(values) => values,
        };
        room.resize(outputs.len() * depth, 0.0);
        for (at, input) in inputs.enumerate() {
            let kernels = &values[(input * sizes.outputs + outputs.start) * taps..];
            for (kernel, row) in kernels.chunks_exact(taps).zip(room.chunks_exact_mut(depth)) {
                let row = &mut row[at * taps..][..taps];
                row.iter_mut().zip(kernel.iter().rev()).for_each(|(to, from)| *to = *from);
            }
        }
        Rows { values: room, stride: depth, depth }
    }
}

/// What a core needs besides input and output.
#[derive(Default)]
struct Room {
    patches: Vec<f32>,
    sums: Vec<f32>,
    kernels: Vec<f32>,
}

/// W ⋆ x + b, some rows of W on one image per task.
fn products(sizes: &Geometry, x: &[f32], weight: Kernels, bias: Option<&[f32]>) -> FlexTensor {
    let [from, to] = sizes.pixels();
    let parts = (2 * rayon::current_num_threads()).div_ceil(sizes.batch.max(1));
    let rows = sizes.outputs.div_ceil(parts).next_multiple_of(12);
    let mut y = vec![0.0; sizes.batch * sizes.outputs * to];
    let images = x.chunks(sizes.inputs * from).zip(y.chunks_mut(sizes.outputs * to));
    let tasks: Vec<_> = images
        .flat_map(|(x, y)| y.chunks_mut(rows * to).enumerate().map(move |(i, y)| (x, i * rows, y)))
        .collect();
    tasks.into_par_iter().for_each_init(Room::default, |room, (x, first, y)| {
        let outputs = first..first + y.len() / to;
        image_products(sizes, x, weight, bias.map(|bias| &bias[first..]), outputs, y, room);
    });
    new_tensor(y, [sizes.batch, sizes.outputs, sizes.to[0], sizes.to[1]])
}

/// Some rows of W on one image; bias and y are theirs alone.
fn image_products(
    sizes: &Geometry,
    x: &[f32],
    weight: Kernels,
    bias: Option<&[f32]>,
    outputs: Range<usize>,
    y: &mut [f32],
    Room { patches, sums, kernels }: &mut Room,
) {
    let (taps, [from, to]) = (sizes.taps(), sizes.pixels());
    let channels = (DEPTH / taps).clamp(1, sizes.inputs);
    let [panel, sum] = [channels * taps * WIDTH, outputs.len() * WIDTH];
    for start in (0..to).step_by(PANELS * WIDTH) {
        let panels = (start..to.min(start + PANELS * WIDTH)).step_by(WIDTH);
        let panels = panels.map(|first| first..to.min(first + WIDTH));
        let panels: Vec<_> = panels.map(|p| (sizes.pieces(p.clone(), WIDTH), p)).collect();
        sums.clear();
        sums.resize(panels.len() * sum, 0.0);
        // Where no piece goes, a panel is zero for all channels alike.
        patches.clear();
        patches.resize(panels.len() * panel, 0.0);
        for first in (0..sizes.inputs).step_by(channels) {
            let inputs = first..sizes.inputs.min(first + channels);
            let x = &x[first * from..inputs.end * from];
            for ((pieces, _), patches) in panels.iter().zip(patches.chunks_mut(panel)) {
                sizes.gather(pieces, x, patches, WIDTH);
            }
            for row in (0..outputs.len()).step_by(ROWS) {
                let count = ROWS.min(outputs.len() - row);
                let rows = outputs.start + row..outputs.start + row + count;
                let factor = weight.rows(sizes, rows, inputs.clone(), kernels);
                let panels = panels.iter().zip(patches.chunks(panel));
                for (((_, pixels), patches), sums) in panels.zip(sums.chunks_mut(sum)) {
                    let patches = &patches[..factor.depth * WIDTH];
                    let sums = &mut sums[row * WIDTH..][..count * WIDTH];
                    add_product(factor, patches, pixels.len(), sums);
                }
            }
        }
        for ((_, pixels), sums) in panels.iter().zip(sums.chunks(sum)) {
            for (row, sums) in sums.chunks(WIDTH).enumerate() {
                let bias = bias.map_or(0.0, |bias| bias[row]);
                let y = &mut y[row * to..][pixels.clone()];
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum + bias);
            }
        }
    }
}

/// W turned around ⋆ g.
fn input_gradient(sizes: &Geometry, weight: &FlexTensor, g: &FlexTensor) -> FlexTensor {
    let (transposed, weight) = (sizes.transposed(), Kernels::Turned(slice(weight)));
    match sizes.stride {
        1 => products(&transposed, slice(g), weight, None),
        _ => products(&transposed, &spread(sizes, slice(g), transposed.from), weight, None),
    }
}

/// Output gradients as far apart as the patches that they belong to, zeros between them.
fn spread(sizes: &Geometry, g: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
    let mut spread = vec![0.0; sizes.batch * sizes.outputs * height * width];
    let channels = spread.chunks_exact_mut(height * width).zip(g.chunks_exact(sizes.pixels()[1]));
    for (to, from) in channels {
        let rows = to.chunks_exact_mut(width).step_by(sizes.stride);
        for (to, from) in rows.zip(from.chunks_exact(sizes.to[1])) {
            let to = to.iter_mut().step_by(sizes.stride);
            to.zip(from).for_each(|(to, from)| *to = *from);
        }
    }
    spread
}

/// Σ over images of g patchesᵀ, a block of input channels per task.
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
