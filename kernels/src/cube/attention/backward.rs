//! The gradients of ⟨g, value⟩ and ⟨g, tangent⟩, at the queries and at the keys and values. Probabilities are computed
//! again from the statistics of each query.

use cubecl::prelude::*;

use super::forward::{Place, scores, set_score_tangents};
use super::tiles::{
    MICRO, ROW, Rows, STAGED, TILE, add_products, add_tile_times, column_of, columns, row_of,
    write_tile, zeros,
};
use crate::cube::strided::Strided;

/// A unit's numbers of a tile: p, ṗ = p ∘ (ṡ − ⟨p, ṡ⟩), t = p ∘ (u − ⟨p, u⟩) and z = p ∘ (y − ⟨p, y⟩).
#[derive(CubeType)]
struct Slopes {
    p: Array<f32>,
    dp: Array<f32>,
    t: Array<f32>,
    z: Array<f32>,
}

/// The inputs that a tile's slopes depend on.
#[cube]
fn slopes<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    dk: &ComptimeOption<Strided<F>>,
    dv: &ComptimeOption<Strided<F>>,
    g: &Strided<F>,
    statistics: &Strided<f32>,
    queries: &Rows,
    query: usize,
    keys: &Rows,
    key: usize,
    head: usize,
    staged: &mut SharedMemory<f32>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[comptime] of_tangent: bool,
) -> Slopes {
    let mut p = scores(q, queries, query, k, keys, key, staged, scale, width, causal);
    let mut u = zeros(comptime!(MICRO * MICRO));
    add_products(g, queries, query, v, keys, key, &mut u, staged, width);
    let mut ds = zeros(comptime!(MICRO * MICRO));
    let mut y = zeros(comptime!(MICRO * MICRO));
    if of_tangent {
        set_score_tangents(q, dq, queries, query, k, dk, keys, key, &mut ds, staged, scale, width);
        #[comptime]
        match dv {
            ComptimeOption::Some(dv) => {
                add_products(g, queries, query, dv, keys, key, &mut y, staged, width);
            }
            ComptimeOption::None => {}
        }
    }
    #[unroll]
    for i in 0..MICRO {
        let row = query + row_of(i);
        let inside = row < queries.count;
        let at = if inside { (head * queries.count + row) * 4 } else { 0usize.runtime() };
        // What is not finite there must not reach rows of others.
        let logarithm = select(inside, statistics.values[at], 0.0f32);
        let mean_u = select(inside, statistics.values[at + 1], 0.0f32);
        let mean_ds = select(inside, statistics.values[at + 2], 0.0f32);
        let mean_y = select(inside, statistics.values[at + 3], 0.0f32);
        #[unroll]
        for j in 0..MICRO {
            let at = i * MICRO + j;
            let mut weight = f32::exp(p[at] - logarithm);
            if !inside {
                weight = 0.0f32;
            }
            let from_mean = ds[at] - mean_ds;
            let slope = y[at] + u[at] * from_mean - mean_u * ds[at];
            p[at] = weight;
            y[at] = weight * (slope - mean_y);
            ds[at] = weight * from_mean;
            u[at] = weight * (u[at] - mean_u);
        }
    }
    Slopes { p, dp: ds, t: u, z: y }
}

/// The gradients at q and q̇: t k, or z k + t k̇ and t k.
#[cube(launch)]
pub fn queries_kernel<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    dk: &ComptimeOption<Strided<F>>,
    dv: &ComptimeOption<Strided<F>>,
    g: &Strided<F>,
    statistics: &Strided<f32>,
    at_q: &mut Strided<F>,
    at_dq: &mut Strided<F>,
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
    let head = place.batch * (place.heads / q.shape(0usize)) + place.head;
    let queries = Rows::new(q, place.batch, place.head, width);
    let keys = Rows::new(k, place.batch, place.head, width);
    let mut staged = SharedMemory::<f32>::new(STAGED);
    let mut tile = SharedMemory::<f32>::new(comptime!(TILE * ROW));
    let columns = comptime!(columns(width));
    let mut of_value = zeros(comptime!(MICRO * columns));
    let mut of_moved = zeros(comptime!(MICRO * columns));
    for number in 0..keys.count.div_ceil(TILE) {
        let key = number * TILE;
        let slopes = slopes(
            q,
            k,
            v,
            dq,
            dk,
            dv,
            g,
            statistics,
            &queries,
            place.first,
            &keys,
            key,
            head,
            &mut staged,
            scale,
            width,
            causal,
            of_tangent,
        );
        write_tile(&slopes.t, &mut tile);
        add_tile_times(&tile, k, &keys, key, &mut of_value, &mut staged, width, false);
        if of_tangent {
            #[comptime]
            match dk {
                ComptimeOption::Some(dk) => {
                    add_tile_times(&tile, dk, &keys, key, &mut of_moved, &mut staged, width, false);
                }
                ComptimeOption::None => {}
            }
            write_tile(&slopes.z, &mut tile);
            add_tile_times(&tile, k, &keys, key, &mut of_moved, &mut staged, width, false);
        }
    }
    if of_tangent {
        write(&of_moved, at_q, &queries, place.first, scale, width);
        write(&of_value, at_dq, &queries, place.first, scale, width);
    } else {
        write(&of_value, at_q, &queries, place.first, scale, width);
    }
}

/// The gradients at k and v: tᵀ q and pᵀ g; of a tangent at k, v, k̇ and v̇: zᵀ q + tᵀ q̇, ṗᵀ g, tᵀ q and pᵀ g.
#[cube(launch)]
pub fn keys_kernel<F: Float>(
    q: &Strided<F>,
    k: &Strided<F>,
    v: &Strided<F>,
    dq: &ComptimeOption<Strided<F>>,
    dk: &ComptimeOption<Strided<F>>,
    dv: &ComptimeOption<Strided<F>>,
    g: &Strided<F>,
    statistics: &Strided<f32>,
    at_k: &mut Strided<F>,
    at_v: &mut Strided<F>,
    at_dk: &mut Strided<F>,
    at_dv: &mut Strided<F>,
    scale: f32,
    #[comptime] width: usize,
    #[comptime] causal: bool,
    #[comptime] of_tangent: bool,
    #[define(F)] _dtype: StorageType,
) {
    let place = Place::new(k, width);
    if !place.exists(k, width) {
        terminate!();
    }
    let head = place.batch * (place.heads / q.shape(0usize)) + place.head;
    let queries = Rows::new(q, place.batch, place.head, width);
    let keys = Rows::new(k, place.batch, place.head, width);
    let mut staged = SharedMemory::<f32>::new(STAGED);
    let mut tile = SharedMemory::<f32>::new(comptime!(TILE * ROW));
    let columns = comptime!(columns(width));
    let mut of_k = zeros(comptime!(MICRO * columns));
    let mut of_v = zeros(comptime!(MICRO * columns));
    let mut moved_k = zeros(comptime!(MICRO * columns));
    let mut moved_v = zeros(comptime!(MICRO * columns));
    for number in 0..queries.count.div_ceil(TILE) {
        let query = number * TILE;
        let slopes = slopes(
            q,
            k,
            v,
            dq,
            dk,
            dv,
            g,
            statistics,
            &queries,
            query,
            &keys,
            place.first,
            head,
            &mut staged,
            scale,
            width,
            causal,
            of_tangent,
        );
        write_tile(&slopes.p, &mut tile);
        add_tile_times(&tile, g, &queries, query, &mut of_v, &mut staged, width, true);
        write_tile(&slopes.t, &mut tile);
        add_tile_times(&tile, q, &queries, query, &mut of_k, &mut staged, width, true);
        if of_tangent {
            #[comptime]
            match dq {
                ComptimeOption::Some(dq) => {
                    add_tile_times(
                        &tile,
                        dq,
                        &queries,
                        query,
                        &mut moved_k,
                        &mut staged,
                        width,
                        true,
                    );
                }
                ComptimeOption::None => {}
            }
            write_tile(&slopes.z, &mut tile);
            add_tile_times(&tile, q, &queries, query, &mut moved_k, &mut staged, width, true);
            write_tile(&slopes.dp, &mut tile);
            add_tile_times(&tile, g, &queries, query, &mut moved_v, &mut staged, width, true);
        }
    }
    if of_tangent {
        write(&moved_k, at_k, &keys, place.first, scale, width);
        write(&moved_v, at_v, &keys, place.first, 1.0f32, width);
        write(&of_k, at_dk, &keys, place.first, scale, width);
        write(&of_v, at_dv, &keys, place.first, 1.0f32, width);
    } else {
        write(&of_k, at_k, &keys, place.first, scale, width);
        write(&of_v, at_v, &keys, place.first, 1.0f32, width);
    }
}

/// Writes a unit's channels of some rows, times a factor.
#[cube]
fn write<F: Float>(
    numbers: &Array<f32>,
    to: &mut Strided<F>,
    rows: &Rows,
    first: usize,
    factor: f32,
    #[comptime] width: usize,
) {
    let columns = comptime!(columns(width));
    #[unroll]
    for i in 0..MICRO {
        let row = first + row_of(i);
        #[unroll]
        for j in 0..columns {
            if row < rows.count && column_of(j) < width {
                to.values[rows.at(row, column_of(j))] =
                    F::cast_from(factor * numbers[i * columns + j]);
            }
        }
    }
}
