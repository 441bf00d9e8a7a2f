//! Value and tangent, and what the backward passes need to know of each query.

use cubecl::prelude::*;

use super::tiles::{
    MICRO, ROW, Rows, STAGED, Softmax, TILE, add_products, add_tile_times, column_of, columns,
    row_of, score, write_tile, zero_rows, zeros,
};
use crate::cube::strided::Strided;

/// Which tile of which head a cube computes.
#[derive(CubeType)]
pub struct Place {
    pub batch: usize,
    pub head: usize,
    /// The first token of its tile.
    pub first: usize,
    /// Over all images.
    pub heads: usize,
}

#[cube]
impl Place {
    /// Cubes are numbered tile by tile, head by head, image by image.
    pub fn new<F: Float>(x: &Strided<F>, #[comptime] width: usize) -> Place {
        let tiles = x.shape(1usize).div_ceil(TILE);
        let heads = x.shape(2usize) / width;
        let head = CUBE_POS / tiles;
        Place {
            batch: head / heads,
            head: head % heads,
            first: CUBE_POS % tiles * TILE,
            heads: heads * x.shape(0usize),
        }
    }

    /// Whether there is such a tile: there may be more cubes.
    pub fn exists<F: Float>(&self, x: &Strided<F>, #[comptime] width: usize) -> bool {
        self.batch < x.shape(0usize) && width > 0
    }
}

/// A unit's scores of a tile.
#[cube]
pub fn scores<F: Float>(
    q: &Strided<F>,
    queries: &Rows,
    query: usize,
    k: &Strided<F>,
    keys: &Rows,
    key: usize,
    staged: &mut SharedMemory<f32>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
) -> Array<f32> {
    let mut sums = zeros(comptime!(MICRO * MICRO));
    add_products(q, queries, query, k, keys, key, &mut sums, staged, width);
    #[unroll]
    for i in 0..MICRO {
        #[unroll]
        for j in 0..MICRO {
            let at = i * MICRO + j;
            let (query, key) = (query + row_of(i), key + column_of(j));
            sums[at] = score(sums[at], scale, query, key, keys.count, causal);
        }
    }
    sums
}

/// Sets a unit's zeros to the tangents ṡ of the scores of a tile.
#[cube]
pub fn set_score_tangents<F: Float>(
    q: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    queries: &Rows,
    query: usize,
    k: &Strided<F>,
    dk: &ComptimeOption<Strided<F>>,
    keys: &Rows,
    key: usize,
    sums: &mut Array<f32>,
    staged: &mut SharedMemory<f32>,
    scale: f32,
    #[comptime] width: usize,
) {
    #[comptime]
    match dq {
        ComptimeOption::Some(dq) => {
            add_products(dq, queries, query, k, keys, key, sums, staged, width);
        }
        ComptimeOption::None => {}
    }
    #[comptime]
    match dk {
        ComptimeOption::Some(dk) => {
            add_products(q, queries, query, dk, keys, key, sums, staged, width);
        }
        ComptimeOption::None => {}
    }
    #[unroll]
    for at in 0..comptime!(MICRO * MICRO) {
        sums[at] *= scale;
    }
}

/// `o = p v`
#[cube(launch)]
pub fn value_kernel<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    o: &mut Strided<F>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[define(F)] _dtype: StorageType,
) {
    let place = Place::new(q, width);
    if !place.exists(q, width) {
        terminate!();
    }
    let queries = Rows::new(q, place.batch, place.head, width);
    let keys = Rows::new(k, place.batch, place.head, width);
    let mut staged = SharedMemory::<f32>::new(STAGED);
    let mut tile = SharedMemory::<f32>::new(comptime!(TILE * ROW));
    let mut softmax = Softmax::new();
    let columns = comptime!(columns(width));
    let mut sums = zeros(comptime!(MICRO * columns));
    for number in 0..keys.count.div_ceil(TILE) {
        let key = number * TILE;
        let s = scores(q, &queries, place.first, k, &keys, key, &mut staged, scale, width, causal);
        write_tile(&s, &mut tile);
        softmax.take(&mut tile);
        softmax.rescale(&mut sums, columns);
        add_tile_times(&tile, v, &keys, key, &mut sums, &mut staged, width, false);
    }
    #[unroll]
    for i in 0..MICRO {
        let row = place.first + row_of(i);
        #[unroll]
        for j in 0..columns {
            if row < queries.count && column_of(j) < width {
                o.values[queries.at(row, column_of(j))] =
                    F::cast_from(sums[i * columns + j] / softmax.total(row_of(i)));
            }
        }
    }
}

/// `ȯ = ṗ v + p v̇` with `ṗ = p ∘ (ṡ − ⟨p, ṡ⟩)`: Σ p ṡ v, Σ p v̇ and Σ p v are summed key by key.
#[cube(launch)]
pub fn tangent_kernel<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    dk: &ComptimeOption<Strided<F>>,
    dv: &ComptimeOption<Strided<F>>,
    o: &mut Strided<F>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[define(F)] _dtype: StorageType,
) {
    let place = Place::new(q, width);
    if !place.exists(q, width) {
        terminate!();
    }
    let queries = Rows::new(q, place.batch, place.head, width);
    let keys = Rows::new(k, place.batch, place.head, width);
    let mut staged = SharedMemory::<f32>::new(STAGED);
    let mut tile = SharedMemory::<f32>::new(comptime!(TILE * ROW));
    let mut softmax = Softmax::new();
    let mut means = zero_rows();
    let columns = comptime!(columns(width));
    let mut values = zeros(comptime!(MICRO * columns));
    let mut tangents = zeros(comptime!(MICRO * columns));
    for number in 0..keys.count.div_ceil(TILE) {
        let key = number * TILE;
        let s = scores(q, &queries, place.first, k, &keys, key, &mut staged, scale, width, causal);
        let mut ds = zeros(comptime!(MICRO * MICRO));
        set_score_tangents(
            q,
            dq,
            &queries,
            place.first,
            k,
            dk,
            &keys,
            key,
            &mut ds,
            &mut staged,
            scale,
            width,
        );
        write_tile(&s, &mut tile);
        softmax.take(&mut tile);
        softmax.rescale(&mut values, columns);
        softmax.rescale(&mut tangents, columns);
        add_tile_times(&tile, v, &keys, key, &mut values, &mut staged, width, false);
        #[comptime]
        match dv {
            ComptimeOption::Some(dv) => {
                add_tile_times(&tile, dv, &keys, key, &mut tangents, &mut staged, width, false);
            }
            ComptimeOption::None => {}
        }
        multiply_by_tile(&mut ds, &tile);
        sync_cube();
        write_tile(&ds, &mut tile);
        softmax.add_rows(&tile, &mut means);
        add_tile_times(&tile, v, &keys, key, &mut tangents, &mut staged, width, false);
    }
    #[unroll]
    for i in 0..MICRO {
        let row = place.first + row_of(i);
        let total = softmax.total(row_of(i));
        let mean = means[row_of(i)] / total;
        #[unroll]
        for j in 0..columns {
            if row < queries.count && column_of(j) < width {
                let at = i * columns + j;
                o.values[queries.at(row, column_of(j))] =
                    F::cast_from((tangents[at] - mean * values[at]) / total);
            }
        }
    }
}

/// Multiplies a unit's numbers by those of a tile.
#[cube]
fn multiply_by_tile(numbers: &mut Array<f32>, tile: &SharedMemory<f32>) {
    #[unroll]
    for i in 0..MICRO {
        #[unroll]
        for j in 0..MICRO {
            numbers[i * MICRO + j] *= tile[row_of(i) * ROW + column_of(j)];
        }
    }
}

/// For each query ln Σ exp s and ⟨p, u⟩ with `u = g vᵀ`; of a tangent also ⟨p, ṡ⟩ and ⟨p, y⟩ with
/// `y = u ∘ (ṡ − ⟨p, ṡ⟩) − ⟨p, u⟩ ṡ + g v̇ᵀ`: `[batch × heads, queries, 4]`.
#[cube(launch)]
pub fn statistics_kernel<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    dk: &ComptimeOption<Strided<F>>,
    dv: &ComptimeOption<Strided<F>>,
    g: &Strided<F>,
    statistics: &mut Strided<f32>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[comptime] of_tangent: bool,
    #[define(F)] _dtype: StorageType,
) {
    let place = Place::new(q, width);
    if !place.exists(q, width) {
        terminate!();
    }
    let queries = Rows::new(q, place.batch, place.head, width);
    let keys = Rows::new(k, place.batch, place.head, width);
    let mut staged = SharedMemory::<f32>::new(STAGED);
    let mut tile = SharedMemory::<f32>::new(comptime!(TILE * ROW));
    let mut softmax = Softmax::new();
    let mut sums_u = zero_rows();
    let mut sums_ds = zero_rows();
    let mut sums_y = zero_rows();
    for number in 0..keys.count.div_ceil(TILE) {
        let key = number * TILE;
        let s = scores(q, &queries, place.first, k, &keys, key, &mut staged, scale, width, causal);
        let mut u = zeros(comptime!(MICRO * MICRO));
        add_products(g, &queries, place.first, v, &keys, key, &mut u, &mut staged, width);
        write_tile(&s, &mut tile);
        softmax.take(&mut tile);
        let mut p = zeros(comptime!(MICRO * MICRO));
        #[unroll]
        for i in 0..MICRO {
            #[unroll]
            for j in 0..MICRO {
                p[i * MICRO + j] = tile[row_of(i) * ROW + column_of(j)];
            }
        }
        sync_cube();
        let mut weighted = zeros(comptime!(MICRO * MICRO));
        #[unroll]
        for at in 0..comptime!(MICRO * MICRO) {
            weighted[at] = p[at] * u[at];
        }
        write_tile(&weighted, &mut tile);
        softmax.add_rows(&tile, &mut sums_u);
        if of_tangent {
            let mut ds = zeros(comptime!(MICRO * MICRO));
            set_score_tangents(
                q,
                dq,
                &queries,
                place.first,
                k,
                dk,
                &keys,
                key,
                &mut ds,
                &mut staged,
                scale,
                width,
            );
            let mut y = zeros(comptime!(MICRO * MICRO));
            #[comptime]
            match dv {
                ComptimeOption::Some(dv) => {
                    add_products(
                        g,
                        &queries,
                        place.first,
                        dv,
                        &keys,
                        key,
                        &mut y,
                        &mut staged,
                        width,
                    );
                }
                ComptimeOption::None => {}
            }
            #[unroll]
            for at in 0..comptime!(MICRO * MICRO) {
                weighted[at] = p[at] * ds[at];
                y[at] = p[at] * (y[at] + u[at] * ds[at]);
            }
            write_tile(&weighted, &mut tile);
            softmax.add_rows(&tile, &mut sums_ds);
            write_tile(&y, &mut tile);
            softmax.add_rows(&tile, &mut sums_y);
        }
    }
    let row = UNIT_POS as usize;
    if row < TILE && place.first + row < queries.count {
        let total = softmax.total(row);
        let mean_u = sums_u[row] / total;
        let mean_ds = sums_ds[row] / total;
        let head = place.batch * (place.heads / q.shape(0usize)) + place.head;
        let at = (head * queries.count + place.first + row) * 4;
        statistics.values[at] = softmax.logarithm(row);
        statistics.values[at + 1] = mean_u;
        statistics.values[at + 2] = mean_ds;
        statistics.values[at + 3] = sums_y[row] / total - 2.0f32 * mean_u * mean_ds;
    }
}
