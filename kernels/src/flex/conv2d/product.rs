//! W ⋆ x as products of W with panels of patches. Only a few panels exist at a time.

use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::geometry::{Geometry, Piece};
use crate::flex::new_tensor;
use crate::flex::panel::{Rows, WIDTH, add_product};

/// The number of patch elements that are gathered at once: 128 kB per panel.
const DEPTH: usize = 512;

/// The number of panels that are multiplied by the same weights while these are in the cache.
const PANELS: usize = 4;

/// The rows of weights per product: 96 kB at [`DEPTH`] columns.
const ROWS: usize = 48;

/// The weights of a [`Geometry`], `[outputs, inputs, taps]`.
#[derive(Debug, Clone, Copy)]
pub enum Kernels<'a> {
    /// In the order of memory.
    Stored(&'a [f32]),
    /// With inputs and outputs exchanged in memory, `[inputs, outputs, taps]`: the weights of the
    /// convolution of which this one computes the gradient.
    Exchanged(&'a [f32]),
}

impl<'a> Kernels<'a> {
    /// The weights of some outputs for some inputs. If they are not consecutive in memory, they are
    /// copied to `room`.
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
            Self::Exchanged(values) => values,
        };
        room.resize(outputs.len() * depth, 0.0);
        for (at, input) in inputs.enumerate() {
            let kernels = &values[(input * sizes.outputs + outputs.start) * taps..];
            let rows = room.chunks_exact_mut(depth).map(|row| &mut row[at * taps..][..taps]);
            let pairs = kernels.chunks_exact(taps).zip(rows);
            match taps {
                // With a length known to the compiler, a copy is two instructions.
                9 => pairs.for_each(|(kernel, row)| copy::<9>(kernel, row)),
                _ => pairs.for_each(|(kernel, row)| row.copy_from_slice(kernel)),
            }
        }
        Rows { values: room, stride: depth, depth }
    }
}

fn copy<const N: usize>(from: &[f32], to: &mut [f32]) {
    to.copy_from_slice(from.first_chunk::<N>().expect("as many elements"));
}

/// `W ⋆ x + b`; a task computes some rows of W on one image.
pub fn products(sizes: &Geometry, x: &[f32], weight: Kernels, bias: Option<&[f32]>) -> FlexTensor {
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
        let bias = bias.map(|bias| &bias[outputs.clone()]);
        Task { sizes, x, weight, bias, outputs }.run(y, room);
    });
    new_tensor(y, [sizes.batch, sizes.outputs, sizes.to[0], sizes.to[1]])
}

/// The buffers of a thread.
#[derive(Default)]
struct Room {
    patches: Vec<f32>,
    sums: Vec<f32>,
    kernels: Vec<f32>,
}

/// Some outputs of one image.
struct Task<'a> {
    sizes: &'a Geometry,
    x: &'a [f32],
    weight: Kernels<'a>,
    /// The bias of these outputs.
    bias: Option<&'a [f32]>,
    outputs: Range<usize>,
}

/// Up to [`WIDTH`] output pixels, and the runs that make up their patches.
struct Panel {
    pixels: Range<usize>,
    pieces: Vec<Piece>,
}

impl Task<'_> {
    /// Fills y `[outputs, pixels]`.
    fn run(&self, y: &mut [f32], room: &mut Room) {
        let to = self.sizes.pixels()[1];
        for start in (0..to).step_by(PANELS * WIDTH) {
            let firsts = (start..to.min(start + PANELS * WIDTH)).step_by(WIDTH);
            let panels = firsts
                .map(|first| first..to.min(first + WIDTH))
                .map(|pixels| Panel { pieces: self.sizes.pieces(pixels.clone(), WIDTH), pixels });
            let panels: Vec<Panel> = panels.collect();
            self.sum(&panels, room);
            self.write(&panels, &room.sums, y);
        }
    }

    /// The products summed over the inputs, `[panels, outputs, WIDTH]`.
    fn sum(&self, panels: &[Panel], Room { patches, sums, kernels }: &mut Room) {
        let Self { sizes, outputs, .. } = self;
        let channels = (DEPTH / sizes.taps()).clamp(1, sizes.inputs);
        let [panel, sum] = [channels * sizes.taps() * WIDTH, outputs.len() * WIDTH];
        sums.clear();
        sums.resize(panels.len() * sum, 0.0);
        // The runs are the same for all channels, so elements outside of them stay zero.
        patches.clear();
        patches.resize(panels.len() * panel, 0.0);
        for first in (0..sizes.inputs).step_by(channels) {
            let inputs = first..sizes.inputs.min(first + channels);
            let pixels = sizes.pixels()[0];
            let x = &self.x[first * pixels..inputs.end * pixels];
            for (Panel { pieces, .. }, patches) in panels.iter().zip(patches.chunks_mut(panel)) {
                sizes.gather(pieces, x, patches, WIDTH);
            }
            for row in (0..outputs.len()).step_by(ROWS) {
                let count = ROWS.min(outputs.len() - row);
                let rows = outputs.start + row..outputs.start + row + count;
                let factor = self.weight.rows(sizes, rows, inputs.clone(), kernels);
                let panels = panels.iter().zip(patches.chunks(panel)).zip(sums.chunks_mut(sum));
                for ((Panel { pixels, .. }, patches), sums) in panels {
                    let patches = &patches[..factor.depth * WIDTH];
                    let sums = &mut sums[row * WIDTH..][..count * WIDTH];
                    add_product(factor, patches, pixels.len(), sums);
                }
            }
        }
    }

    fn write(&self, panels: &[Panel], sums: &[f32], y: &mut [f32]) {
        let to = self.sizes.pixels()[1];
        for (Panel { pixels, .. }, sums) in panels.iter().zip(sums.chunks(y.len() / to * WIDTH)) {
            for (row, sums) in sums.chunks(WIDTH).enumerate() {
                let bias = self.bias.map_or(0.0, |bias| bias[row]);
                let y = &mut y[row * to..][pixels.clone()];
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum + bias);
            }
        }
    }
}
