//! The sizes of a convolution, and which pixels of an image its patches consist of.

use std::ops::Range;

use burn_flex::FlexTensor;

use crate::conv2d::Conv2d;
use crate::flex::dims;

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// The number of images.
    pub batch: usize,
    /// The channels of x.
    pub inputs: usize,
    /// The channels of y.
    pub outputs: usize,
    /// The height and width of a kernel.
    pub kernel: usize,
    /// The stride in both directions.
    pub stride: usize,
    /// The rows and columns of zeros added on every side, or cut off if negative.
    pub padding: isize,
    /// Whether the elements of a patch are in reverse order, which flips the kernel.
    pub backwards: bool,
    /// Height and width of x.
    pub from: [usize; 2],
    /// Height and width of y.
    pub to: [usize; 2],
}

/// A run of consecutive pixels that appear consecutively among the patches, in every channel alike.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Its offset in a channel.
    pub from: usize,
    /// Its offset in the patches of a channel.
    pub to: usize,
    /// Its length.
    pub count: usize,
}

impl Geometry {
    /// The sizes for x `[batch, inputs, height, width]` and W `[outputs, inputs, kernel, kernel]`.
    pub fn new(options: &Conv2d, x: &FlexTensor, weight: &FlexTensor) -> Self {
        let [batch, inputs, height, width] = dims(x);
        let [outputs, _, kernel, _] = dims(weight);
        let Conv2d { stride, padding } = *options;
        let to = [height, width].map(|side| (side + 2 * padding - kernel) / stride + 1);
        let (padding, from) = (padding as isize, [height, width]);
        Self { batch, inputs, outputs, kernel, stride, padding, backwards: false, from, to }
    }

    /// The number of elements of a kernel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The number of elements of a patch over all input channels.
    pub fn depth(&self) -> usize {
        self.inputs * self.taps()
    }

    /// The number of pixels of an input channel and of an output channel.
    pub fn pixels(&self) -> [usize; 2] {
        [self.from, self.to].map(|[height, width]| height * width)
    }

    /// Along one axis: the outputs for which the kernel's element at `offset` lies inside of the
    /// input, and the input position of the first of them.
    fn inside(&self, offset: usize, from: usize, to: usize) -> (Range<usize>, usize) {
        let shift = offset as isize - self.padding;
        // 0 ≤ output · stride + shift < from
        let least = |input: isize| ((input - shift).max(0) as usize).div_ceil(self.stride);
        let first = least(0).min(to);
        let last = least(from as isize).clamp(first, to);
        (first..last, (first * self.stride).saturating_add_signed(shift))
    }

    /// The runs that make up the patches `[taps, width]` of some output pixels; all other elements
    /// of the patches are zero.
    pub fn pieces(&self, pixels: Range<usize>, width: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for place in 0..self.taps() {
            let tap = if self.backwards { self.taps() - 1 - place } else { place };
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
                let to = place * width + start - pixels.start;
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

    /// Copies the runs into the patches of some channels, `[channels, taps, width]`; elements
    /// outside of the runs are left as they are.
    pub fn gather(&self, pieces: &[Piece], channels: &[f32], patches: &mut [f32], width: usize) {
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

    /// The convolution that maps g to this convolution's gradient at x. Inputs and outputs are
    /// exchanged, patches are reversed instead of the kernels, and the pixels of g are `stride`
    /// apart (see [`spread`](Self::spread)).
    pub fn transposed(&self) -> Self {
        let (kernel, padding) = (self.kernel as isize, self.padding);
        let from = self.from.map(|side| (side as isize + 2 * padding - kernel + 1) as usize);
        let (inputs, outputs) = (self.outputs, self.inputs);
        let padding = kernel - 1 - padding;
        let (stride, backwards) = (1, !self.backwards);
        Self { inputs, outputs, stride, padding, backwards, from, to: self.from, ..*self }
    }

    /// The output gradients of all images with zeros between the pixels, `stride` apart: the input
    /// of [`transposed`](Self::transposed).
    pub fn spread(&self, g: &[f32]) -> Vec<f32> {
        let [height, width] = self.transposed().from;
        let mut spread = vec![0.0; self.batch * self.outputs * height * width];
        let channels =
            spread.chunks_exact_mut(height * width).zip(g.chunks_exact(self.pixels()[1]));
        for (to, from) in channels {
            let rows = to.chunks_exact_mut(width).step_by(self.stride);
            for (to, from) in rows.zip(from.chunks_exact(self.to[1])) {
                let to = to.iter_mut().step_by(self.stride);
                to.zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        spread
    }
}
