//! Matrices as strided views, and their products by the `gemm` crate.

use std::mem::MaybeUninit;

use burn_flex::FlexTensor;
use gemm::Parallelism;

/// A view of rows and columns somewhere in a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// Which cores compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// The current thread only.
    One,
    /// All threads of rayon's pool.
    All,
}

impl<'a> Matrix<'a> {
    /// A matrix `[rows, columns]` stored row by row.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, [rows, columns], [columns, 1])
    }

    /// A matrix with given strides between rows and between columns.
    ///
    /// # Panics
    /// If an element lies outside of `values`.
    pub fn strided(values: &'a [f32], [rows, columns]: [usize; 2], strides: [usize; 2]) -> Self {
        let [row_stride, column_stride] = strides;
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
            assert!(last < values.len(), "a matrix beyond its values");
        }
        Self { values, rows, columns, row_stride, column_stride }
    }

    /// The last two dimensions of a tensor, at an offset into its elements.
    ///
    /// # Panics
    /// If a stride is negative.
    pub fn of(tensor: &'a FlexTensor, offset: usize) -> Self {
        let layout = tensor.layout();
        let rank = layout.num_dims();
        let size = [layout.shape()[rank - 2], layout.shape()[rank - 1]];
        let stride = |i: usize| usize::try_from(layout.strides()[i]).expect("no flipped tensors");
        let values = &tensor.storage()[layout.start_offset() + offset..];
        Self::strided(values, size, [stride(rank - 2), stride(rank - 1)])
    }

    /// Rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` rows from `start` on.
    pub fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows beyond the matrix");
        Self { values: &self.values[start * self.row_stride..], rows: count, ..self }
    }

    /// `count` columns from `start` on.
    pub fn columns(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.columns, "columns beyond the matrix");
        Self { values: &self.values[start * self.column_stride..], columns: count, ..self }
    }

    /// The number of rows and columns.
    pub fn size(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The product.
    pub fn times(self, other: Self, cores: Cores) -> Dense {
        self.scaled_times(1.0, other, cores)
    }

    /// The product times a number.
    pub fn scaled_times(self, scale: f32, other: Self, cores: Cores) -> Dense {
        let (rows, columns) = (self.rows, other.columns);
        let mut values = Vec::with_capacity(rows * columns);
        let room = &mut values.spare_capacity_mut()[..rows * columns];
        if self.columns == 0 {
            room.fill(MaybeUninit::new(0.0));
        } else {
            product_into(room, columns, self, other, [0.0, scale], cores);
        }
        // SAFETY: the product has written every element without reading any.
        #[expect(unsafe_code, reason = "filling with zeros first costs a pass over memory")]
        unsafe {
            values.set_len(rows * columns);
        }
        Dense { values, rows, columns }
    }

    /// Adds the product to `y`.
    pub fn add_times(self, other: Self, y: &mut Dense, cores: Cores) {
        assert_eq!([self.rows, other.columns], [y.rows, y.columns], "the size of a product");
        product(&mut y.values, other.columns, self, other, [1.0, 1.0], cores);
    }

    /// A copy of the elements, row by row.
    pub fn copy(self) -> Dense {
        let row = |i| (0..self.columns).map(move |j| i * self.row_stride + j * self.column_stride);
        let values = (0..self.rows).flat_map(row).map(|at| self.values[at]).collect();
        Dense { values, rows: self.rows, columns: self.columns }
    }
}

/// An owned matrix, stored row by row.
#[derive(Debug, Clone)]
pub struct Dense {
    /// `rows · columns` elements.
    pub values: Vec<f32>,
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
}

impl Dense {
    /// All zero.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { values: vec![0.0; rows * columns], rows, columns }
    }

    /// The matrix as a factor of a product.
    pub fn view(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.rows, self.columns)
    }

    /// `[self, other]`, with the columns of both.
    pub fn concat(&self, other: &Self) -> Self {
        let rows = self.values.chunks(self.columns).zip(other.values.chunks(other.columns));
        let values = rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
        Self { values, rows: self.rows, columns: self.columns + other.columns }
    }
}

/// `y ← old · y + new · a b`, where `factors` is `[old, new]` and the rows of y are `stride` apart.
///
/// # Panics
/// If the sizes do not match.
pub fn product(
    y: &mut [f32],
    stride: usize,
    a: Matrix,
    b: Matrix,
    factors: [f32; 2],
    cores: Cores,
) {
    // SAFETY: a product writes numbers only, so initialised elements stay initialised.
    #[expect(unsafe_code, reason = "a slice of numbers as one that may hold none")]
    let y = unsafe { &mut *(std::ptr::from_mut(y) as *mut [MaybeUninit<f32>]) };
    product_into(y, stride, a, b, factors, cores);
}

/// [`product`], where y may be uninitialised if `old` is 0.
fn product_into(
    y: &mut [MaybeUninit<f32>],
    stride: usize,
    a: Matrix,
    b: Matrix,
    [old, new]: [f32; 2],
    cores: Cores,
) {
    assert_eq!(a.columns, b.rows, "the inner sizes of a product");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && (m - 1) * stride + n <= y.len(), "a product beyond its place");
    let parallelism = match cores {
        Cores::One => Parallelism::None,
        Cores::All => Parallelism::Rayon(0),
    };
    // SAFETY: all three matrices lie inside of their slices: y by the assertion above, a and b by
    // construction. y is borrowed mutably, so it overlaps with neither.
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr().cast::<f32>(),
            1,
            stride as isize,
            old != 0.0,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            old,
            new,
            false,
            false,
            false,
            parallelism,
        );
    }
}
