//! Maps and sums over elements, on all cores and with the widest instructions.

use std::mem::MaybeUninit;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// The number of partial sums, which let a compiler use wide registers without reordering a sum.
const LANES: usize = 64;

/// Elements per task: one task's inputs and outputs stay in a core's cache.
const TASK: usize = 1 << 14;

/// Runs `body` compiled for the widest instructions of this machine.
///
/// This holds only for code that is inlined into `body`, so closures and functions must be marked
/// `#[inline(always)]`.
#[inline(always)]
pub fn vectorized<R>(body: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Body(body))
}

/// A wrapper of the closure: `FnOnce::call_once` of an `FnMut` closure is a shim that compilers do
/// not inline.
struct Body<F>(F);

impl<R, F: FnMut() -> R> NullaryFnOnce for Body<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// `y[i] = f(x[0][i], x[1][i], ...)`
///
/// # Panics
/// If the inputs differ in length.
pub fn map<const N: usize>(x: [&[f32]; N], f: impl Fn([f32; N]) -> f32 + Copy + Sync) -> Vec<f32> {
    let nothing = || ();
    in_parts(x[0].len(), TASK, nothing, |(), task, y| {
        let x = x.map(|x| &x[task * TASK..][..y.len()]);
        vectorized(
            #[inline(always)]
            || map_into(x, y, f),
        );
    })
}

/// `count` values, computed in parts of `part` on all cores. `fill` is given scratch space, which
/// `scratch` makes once per task, the index of the part, and the part itself, which holds zeros.
///
/// # Panics
/// If `part` is 0.
pub fn in_parts<S>(
    count: usize,
    part: usize,
    scratch: impl Fn() -> S + Send + Sync,
    fill: impl Fn(&mut S, usize, &mut [f32]) + Send + Sync,
) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    let parts = values.spare_capacity_mut()[..count].par_chunks_mut(part).enumerate();
    parts.for_each_init(scratch, |scratch, (number, room)| {
        // Zeros are written part by part, so that all cores share the work. They are needed for
        // speed: compilers did not vectorise loops that write to uninitialised memory.
        room.fill(MaybeUninit::new(0.0));
        // SAFETY: every element has just been written.
        #[expect(unsafe_code, reason = "a slice whose elements all hold numbers")]
        let room = unsafe { &mut *(std::ptr::from_mut(room) as *mut [f32]) };
        fill(scratch, number, room);
    });
    // SAFETY: the parts cover the whole capacity, and each has been written.
    #[expect(unsafe_code, reason = "filling with zeros first costs a pass over memory")]
    unsafe {
        values.set_len(count);
    }
    values
}

/// [`map`] on this core, into a given slice.
#[inline(always)]
pub fn map_into<const N: usize>(x: [&[f32]; N], y: &mut [f32], f: impl Fn([f32; N]) -> f32) {
    let x = x.map(|x| &x[..y.len()]);
    for i in 0..y.len() {
        y[i] = f(x.map(|x| x[i]));
    }
}

/// `[y[0][i], y[1][i]] = f(x[0][i], x[1][i], ...)` on this core.
#[inline(always)]
pub fn map_both_into<const N: usize>(
    x: [&[f32]; N],
    [y, z]: [&mut [f32]; 2],
    f: impl Fn([f32; N]) -> [f32; 2],
) {
    let (x, z) = (x.map(|x| &x[..y.len()]), &mut z[..y.len()]);
    for i in 0..y.len() {
        [y[i], z[i]] = f(x.map(|x| x[i]));
    }
}

/// `y[i] ← f(y[i], [x[0][i], ...])`
#[inline(always)]
pub fn update<const N: usize>(y: &mut [f32], x: [&[f32]; N], f: impl Fn(f32, [f32; N]) -> f32) {
    let x = x.map(|x| &x[..y.len()]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = f(*y, x.map(|x| x[i]));
    }
}

/// `Σ_i f(x[0][i], x[1][i], ...)` on this core.
#[inline(always)]
pub fn sum<const N: usize>(x: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let length = x[0].len();
    let x = x.map(|x| &x[..length]);
    let whole = length / LANES * LANES;
    let mut lanes = [0.0f32; LANES];
    for start in (0..whole).step_by(LANES) {
        let x = x.map(|x| &x[start..start + LANES]);
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(x.map(|x| x[lane]));
        }
    }
    // Pairwise, because in a plain loop each addition would wait for the one before.
    let mut half = LANES / 2;
    while half > 0 {
        let (sums, added) = lanes.split_at_mut(half);
        sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += *added);
        half /= 2;
    }
    let mut total = lanes[0];
    for i in whole..length {
        total += f(x.map(|x| x[i]));
    }
    total
}

/// The largest element, −∞ if there is none.
#[inline(always)]
pub fn maximum(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (highest, x) in lanes.iter_mut().zip(chunk) {
            *highest = if *x > *highest { *x } else { *highest };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}
