//! Products of a matrix with panels of a few columns, which fit in a core's cache. The matrix is
//! read in place. The caller, such as a convolution, writes panels in the order in which they are
//! read, so that nothing is packed a second time.

use pulp::{Arch, Simd, WithSimd};

/// Columns of a panel: four AVX-512 registers.
pub const WIDTH: usize = 64;

/// Rows of the left factor, `depth` elements each, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The elements, beginning with the first row.
    pub values: &'a [f32],
    /// The distance from one row to the next.
    pub stride: usize,
    /// The number of elements of a row.
    pub depth: usize,
}

/// `sum[row] += Σ_k rows[row][k] · panel[k]` over the first `columns` columns, which are rounded up
/// to full registers; panel is `[depth, WIDTH]`, sum is `[rows, WIDTH]`.
///
/// # Panics
/// If the sizes do not match.
pub fn add_product(rows: Rows, panel: &[f32], columns: usize, sum: &mut [f32]) {
    let count = sum.len() / WIDTH;
    assert!(count == 0 || (count - 1) * rows.stride + rows.depth <= rows.values.len());
    assert_eq!(panel.len(), rows.depth * WIDTH, "the size of a panel");
    Arch::new().dispatch(AddProduct { rows, panel, columns, sum });
}

struct AddProduct<'a> {
    rows: Rows<'a>,
    panel: &'a [f32],
    columns: usize,
    sum: &'a mut [f32],
}

impl WithSimd for AddProduct<'_> {
    type Output = ();

    /// The block sizes give enough independent sums to hide the latency of multiply-add, and few
    /// enough to fit in registers: 24 of 32 with AVX-512 and NEON, 12 of 16 with AVX2.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let narrow = self.columns <= S::F32_LANES;
        match (narrow, S::F32_LANES) {
            (true, _) => self.by::<S, 12, 1>(simd),
            (false, 8) => self.by::<S, 6, 2>(simd),
            (false, _) => self.by::<S, 6, 4>(simd),
        }
    }
}

impl AddProduct<'_> {
    /// Computes blocks of `R` rows and `V` registers of columns, and the remaining rows in smaller
    /// ones.
    #[inline(always)]
    fn by<S: Simd, const R: usize, const V: usize>(&mut self, simd: S) {
        let count = self.sum.len() / WIDTH;
        for column in (0..self.columns).step_by(V * S::F32_LANES) {
            let mut row = 0;
            while row + R <= count {
                self.block::<S, R, V>(simd, row, column);
                row += R;
            }
            while row + 4 <= count {
                self.block::<S, 4, V>(simd, row, column);
                row += 4;
            }
            while row + 2 <= count {
                self.block::<S, 2, V>(simd, row, column);
                row += 2;
            }
            if row < count {
                self.block::<S, 1, V>(simd, row, column);
            }
        }
    }

    #[inline(always)]
    fn block<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let Rows { values, stride, depth } = self.rows;
        let rows: [&[f32]; R] =
            std::array::from_fn(|r| &values[(row + r) * stride..(row + r) * stride + depth]);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (k, line) in self.panel.chunks_exact(WIDTH).take(depth).enumerate() {
            let line = &S::as_simd_f32s(line).0[column / S::F32_LANES..][..V];
            for r in 0..R {
                let factor = simd.splat_f32s(rows[r][k]);
                for v in 0..V {
                    sums[r][v] = simd.mul_add_e_f32s(factor, line[v], sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let line = &mut self.sum[(row + r) * WIDTH..][..WIDTH];
            let line = &mut S::as_mut_simd_f32s(line).0[column / S::F32_LANES..][..V];
            for (to, sum) in line.iter_mut().zip(sums) {
                *to = simd.add_f32s(*to, *sum);
            }
        }
    }
}
