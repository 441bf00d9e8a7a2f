//! What the kernels of attention share. A cube computes a square tile of scores at a time, of which a unit has a few
//! that lie 16 rows and columns apart.

use cubecl::prelude::*;

use crate::cube::UNITS;
use crate::cube::strided::Strided;

/// Queries and keys of a tile. With its factors it takes 9 KB; WebGPU promises 16 KB.
pub const TILE: usize = 32;

/// Units along each side of a tile.
const SIDE: usize = 16;

/// A unit's scores along each side of a tile.
pub const MICRO: usize = TILE / SIDE;

/// Channels that are multiplied at a time.
const DEPTH: usize = 16;

/// A row of a tile in shared memory, longer by one so that a column lies in different banks.
pub const ROW: usize = TILE + 1;
const DEPTH_ROW: usize = DEPTH + 1;

/// Numbers of both factors of a product, or of the rows that a tile is multiplied with.
pub const STAGED: usize = 2 * TILE * DEPTH_ROW;

/// What a hidden score is: its exponential is zero beside any other.
const HIDDEN: f32 = -1e30;

/// The rows of a head in a tensor `[batch, tokens, heads × d]`.
#[derive(CubeType, Clone, Copy)]
pub struct Rows {
    start: usize,
    stride: usize,
    pub count: usize,
}

#[cube]
impl Rows {
    /// Those of a head of an image.
    pub fn new<F: Float>(
        x: &Strided<F>,
        batch: usize,
        head: usize,
        #[comptime] width: usize,
    ) -> Rows {
        Rows {
            start: batch * x.shape(1usize) * x.shape(2usize) + head * width,
            stride: x.shape(2usize),
            count: x.shape(1usize),
        }
    }

    /// Where a channel of a row lies.
    pub fn at(&self, row: usize, channel: usize) -> usize {
        self.start + row * self.stride + channel
    }

    /// A channel of a row; zero beyond the last ones.
    fn read<F: Float>(
        &self,
        x: &Strided<F>,
        row: usize,
        channel: usize,
        #[comptime] width: usize,
    ) -> f32 {
        let mut value = 0.0f32;
        if row < self.count && channel < width {
            value = f32::cast_from(x.values[self.at(row, channel)]);
        }
        value
    }
}

/// A unit's channels of a row.
pub fn columns(width: usize) -> usize {
    width.div_ceil(SIDE)
}

/// Rows that are staged at a time; none where a row is too long.
fn height(width: usize) -> usize {
    let most = STAGED / (columns(width) * SIDE);
    if most == 0 { 0 } else { TILE.min(1 << most.ilog2()) }
}

/// Whether the kernels take heads of this width.
pub fn fits(width: usize) -> bool {
    height(width) > 0
}

/// The row of a tile in which a unit's number `i` lies.
#[cube]
pub fn row_of(#[comptime] i: usize) -> usize {
    UNIT_POS as usize / SIDE + i * SIDE
}

/// The column of a tile in which a unit's number `j` lies.
#[cube]
pub fn column_of(#[comptime] j: usize) -> usize {
    UNIT_POS as usize % SIDE + j * SIDE
}

/// An array of zeros.
#[cube]
pub fn zeros(#[comptime] count: usize) -> Array<f32> {
    let mut numbers = Array::<f32>::new(count);
    #[unroll]
    for i in 0..count {
        numbers[i] = 0.0f32;
    }
    numbers
}

/// Adds the products of rows of x and rows of y to a unit's numbers of a tile. The loop over channels is the compiler's
/// to unroll.
#[cube]
pub fn add_products<F: Float>(
    x: &Strided<F>,
    x_rows: &Rows,
    x_first: usize,
    y: &Strided<F>,
    y_rows: &Rows,
    y_first: usize,
    sums: &mut Array<f32>,
    staged: &mut SharedMemory<f32>,
    #[comptime] width: usize,
) {
    let half = comptime!(STAGED / 2);
    for chunk in 0..comptime!(width.div_ceil(DEPTH)).runtime() {
        for part in 0..comptime!(TILE * DEPTH / UNITS).runtime() {
            let at = UNIT_POS as usize + part * UNITS;
            let row = at / DEPTH;
            let channel = at % DEPTH;
            let place = row * DEPTH_ROW + channel;
            let channel = channel + chunk * DEPTH;
            staged[place] = x_rows.read(x, x_first + row, channel, width);
            staged[half + place] = y_rows.read(y, y_first + row, channel, width);
        }
        sync_cube();
        for channel in 0..DEPTH.runtime() {
            let mut left = Array::<f32>::new(MICRO);
            #[unroll]
            for i in 0..MICRO {
                left[i] = staged[row_of(i) * DEPTH_ROW + channel];
            }
            #[unroll]
            for j in 0..MICRO {
                let right = staged[half + column_of(j) * DEPTH_ROW + channel];
                #[unroll]
                for i in 0..MICRO {
                    sums[i * MICRO + j] += left[i] * right;
                }
            }
        }
        sync_cube();
    }
}

/// Adds a tile, or its transpose, times rows of y to a unit's channels of some rows. All units have written the tile, and
/// may write it again afterwards.
#[cube]
pub fn add_tile_times<F: Float>(
    tile: &SharedMemory<f32>,
    y: &Strided<F>,
    y_rows: &Rows,
    y_first: usize,
    sums: &mut Array<f32>,
    staged: &mut SharedMemory<f32>,
    #[comptime] width: usize,
    #[comptime] transposed: bool,
) {
    let columns = comptime!(columns(width));
    let length = comptime!(columns * SIDE);
    let height = comptime!(height(width));
    for block in 0..comptime!(TILE / height).runtime() {
        let mut at = UNIT_POS as usize;
        while at < comptime!(length * height).runtime() {
            let row = y_first + block * height + at / length;
            staged[at] = y_rows.read(y, row, at % length, width);
            at += UNITS;
        }
        sync_cube();
        for row in 0..height.runtime() {
            let inner = block * height + row;
            let mut factors = Array::<f32>::new(MICRO);
            #[unroll]
            for i in 0..MICRO {
                let at = if transposed { inner * ROW + row_of(i) } else { row_of(i) * ROW + inner };
                factors[i] = tile[at];
            }
            #[unroll]
            for j in 0..columns {
                let right = staged[row * length + column_of(j)];
                #[unroll]
                for i in 0..MICRO {
                    sums[i * columns + j] += factors[i] * right;
                }
            }
        }
        sync_cube();
    }
}

/// Writes a unit's numbers of a tile, and waits for the others.
#[cube]
pub fn write_tile(numbers: &Array<f32>, tile: &mut SharedMemory<f32>) {
    #[unroll]
    for i in 0..MICRO {
        #[unroll]
        for j in 0..MICRO {
            tile[row_of(i) * ROW + column_of(j)] = numbers[i * MICRO + j];
        }
    }
    sync_cube();
}

/// A score from a product, or [`HIDDEN`] where the query does not see the key.
#[cube]
pub fn score(
    product: f32,
    scale: f32,
    query: usize,
    key: usize,
    keys: usize,
    #[comptime] causal: bool,
) -> f32 {
    let mut hidden = key >= keys;
    if causal {
        hidden = hidden || key > query;
    }
    select(hidden, HIDDEN, product * scale)
}

/// What is known of each query after some tiles of keys: max s, Σ exp(s − max s), and by what earlier sums of a tile have
/// to be multiplied since max s has grown.
#[derive(CubeType)]
pub struct Softmax {
    most: SharedMemory<f32>,
    total: SharedMemory<f32>,
    factor: SharedMemory<f32>,
}

#[cube]
impl Softmax {
    /// Before the first key.
    pub fn new() -> Softmax {
        let mut most = SharedMemory::<f32>::new(TILE);
        let mut total = SharedMemory::<f32>::new(TILE);
        let factor = SharedMemory::<f32>::new(TILE);
        let row = UNIT_POS as usize;
        if row < TILE {
            most[row] = HIDDEN;
            total[row] = 0.0f32;
        }
        sync_cube();
        Softmax { most, total, factor }
    }

    /// Makes exp(s − max s) of a tile of scores that all units have written, and waits for them.
    pub fn take(&mut self, tile: &mut SharedMemory<f32>) {
        let row = UNIT_POS as usize;
        if row < TILE {
            let before = self.most[row];
            let mut most = before;
            for column in 0..TILE {
                most = max(most, tile[row * ROW + column]);
            }
            let mut sum = 0.0f32;
            for column in 0..TILE {
                let weight = f32::exp(tile[row * ROW + column] - most);
                tile[row * ROW + column] = weight;
                sum += weight;
            }
            let factor = f32::exp(before - most);
            self.most[row] = most;
            self.factor[row] = factor;
            self.total[row] = self.total[row] * factor + sum;
        }
        sync_cube();
    }

    /// Brings a unit's sums over the keys so far to the new maximum.
    pub fn rescale(&self, sums: &mut Array<f32>, #[comptime] columns: usize) {
        #[unroll]
        for i in 0..MICRO {
            let factor = self.factor[row_of(i)];
            #[unroll]
            for j in 0..columns {
                sums[i * columns + j] *= factor;
            }
        }
    }

    /// Σ exp(s − max s) of a row.
    pub fn total(&self, row: usize) -> f32 {
        self.total[row]
    }

    /// ln Σ exp s of a row.
    pub fn logarithm(&self, row: usize) -> f32 {
        self.most[row] + f32::ln(self.total[row])
    }

    /// Adds the rows of a tile that all units have written to a sum for each, which is brought to the new maximum, and
    /// waits for them.
    pub fn add_rows(&self, tile: &SharedMemory<f32>, sums: &mut SharedMemory<f32>) {
        let row = UNIT_POS as usize;
        if row < TILE {
            let mut sum = sums[row] * self.factor[row];
            for column in 0..TILE {
                sum += tile[row * ROW + column];
            }
            sums[row] = sum;
        }
        sync_cube();
    }
}

/// A zero for each row of a tile.
#[cube]
pub fn zero_rows() -> SharedMemory<f32> {
    let mut sums = SharedMemory::<f32>::new(TILE);
    let row = UNIT_POS as usize;
    if row < TILE {
        sums[row] = 0.0f32;
    }
    sync_cube();
    sums
}
