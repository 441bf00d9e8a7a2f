//! Copies of stacked transposed matrices, such as images whose channels become the last dimension.
//!
//! Burn copies one element at a time; these copies go by tiles, which stay in a core's cache.

use burn_flex::FlexTensor;

use super::elementwise::in_parts;
use super::{new_tensor, shape_of, slice_from};

/// Side of a tile: one cache line of floats.
const TILE: usize = 16;

/// The tensor with contiguous elements; a copy only if they are not contiguous already.
pub fn contiguous(t: &FlexTensor) -> FlexTensor {
    match t.is_contiguous() {
        true => t.clone(),
        false => copy(t).unwrap_or_else(|| t.to_contiguous()),
    }
}

/// A contiguous copy of a tensor, if it is a stack of matrices whose columns are
/// contiguous.
fn copy(t: &FlexTensor) -> Option<FlexTensor> {
    let dims = merged(t)?;
    let [stack @ .., (rows, 1), (columns, stride)] = &dims[..] else { return None };
    let (rows, columns, stride) = (*rows, *columns, *stride);
    let from = slice_from(t);
    let nothing = || ();
    let values = in_parts(t.layout().num_elements(), rows * columns, nothing, |(), matrix, to| {
        transpose(&from[offset(stack, matrix)..], stride, to, rows, columns);
    });
    Some(new_tensor(values, shape_of(t)))
}

/// Sizes and strides, with neighbouring dimensions merged where they are contiguous; `None` if the
/// tensor is empty or a stride is negative.
fn merged(t: &FlexTensor) -> Option<Vec<(usize, usize)>> {
    let layout = t.layout();
    let mut dims: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in layout.shape().iter().zip(layout.strides()) {
        let (size, stride) = (*size, usize::try_from(*stride).ok()?);
        match dims.last_mut() {
            _ if size == 1 => {}
            Some(last) if last.1 == size * stride => *last = (last.0 * size, stride),
            _ => dims.push((size, stride)),
        }
    }
    (layout.num_elements() > 0).then_some(dims)
}

/// The offset of the matrix `index` of a stack.
fn offset(stack: &[(usize, usize)], index: usize) -> usize {
    let step = |(index, sum): (usize, usize), (size, stride): &(usize, usize)| {
        (index / size, sum + index % size * stride)
    };
    stack.iter().rev().fold((index, 0), step).1
}

/// `to[r, c] = from[c · stride + r]`
fn transpose(from: &[f32], stride: usize, to: &mut [f32], rows: usize, columns: usize) {
    for first_row in (0..rows).step_by(TILE) {
        let last_row = rows.min(first_row + TILE);
        for first_column in (0..columns).step_by(TILE) {
            let last_column = columns.min(first_column + TILE);
            for row in first_row..last_row {
                for column in first_column..last_column {
                    to[row * columns + column] = from[column * stride + row];
                }
            }
        }
    }
}
