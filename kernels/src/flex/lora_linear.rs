//! A linear layer with its adapter. Products are by `gemm`; thin factors are concatenated, so that
//! each wide matrix is read once.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::matrix::{Cores, Dense, Matrix};
use super::transpose::contiguous;
use super::{Tuned, new_tensor, slice};
use crate::lora_linear::{LoraInputs, LoraLinear};
use crate::operation::Gradients;

const ALL: Cores = Cores::All;

fn matrix(t: &FlexTensor) -> Matrix<'_> {
    Matrix::of(t, 0)
}

fn tensor(matrix: Dense) -> FlexTensor {
    new_tensor(matrix.values, [matrix.rows, matrix.columns])
}

impl Tuned for LoraLinear {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        let LoraInputs { x, weight, bias, lora } = self.inputs(x);
        let (x, weight) = (matrix(&x), matrix(&weight));
        let mut y = match &bias {
            Some(bias) => {
                let mut y = repeat_row(slice(&contiguous(bias)), x.size()[0]);
                x.add_times(weight.t(), &mut y, ALL);
                y
            }
            None => x.times(weight.t(), ALL),
        };
        if let Some([a, b]) = &lora {
            x.times(matrix(b), ALL).view().add_times(matrix(a).t(), &mut y, ALL);
        }
        tensor(y)
    }

    /// `ẏ = ẋ Wᵀ + [ẋ B + x Ḃ, x B] [A, Ȧ]ᵀ`
    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let LoraInputs { x: dx, lora: dlora, .. } = self.inputs(dx);
        let (x, weight) = (matrix(&x), matrix(&weight));
        let dx = dx.as_ref().map(matrix);
        let mut dy = match dx {
            Some(dx) => dx.times(weight.t(), ALL),
            None => Dense::zeros(x.size()[0], weight.size()[0]),
        };
        if let (Some(lora), Some(dlora)) = (&lora, &dlora) {
            let ([a, b], [da, db]) = (lora.each_ref().map(matrix), tangents(dlora));
            let low = low_tangent(x, dx, b, db);
            match da {
                Some(da) => low.concat(&x.times(b, ALL)).view().add_times(
                    a.copy().concat(&da.copy()).view().t(),
                    &mut dy,
                    ALL,
                ),
                None => low.view().add_times(a.t(), &mut dy, ALL),
            }
        }
        tensor(dy)
    }

    /// With `g_A = g A`: g W + g_A Bᵀ at x, gᵀ (x B) at A, xᵀ g_A at B, gᵀ x at W, Σ g at b.
    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, wanted: &[bool]) -> Gradients<Flex> {
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let wanted = self.inputs(wanted);
        let (x, weight, g) = (matrix(&x), matrix(&weight), matrix(&g));
        let mut at_x = wanted.x.then(|| g.times(weight, ALL));
        let at_lora = lora.as_ref().map(|lora| {
            let [a, b] = lora.each_ref().map(matrix);
            let low = g.times(a, ALL);
            if let Some(at_x) = &mut at_x {
                low.view().add_times(b.t(), at_x, ALL);
            }
            let [at_a, at_b] = wanted.lora.expect("one entry per input");
            let at_a = at_a.then(|| g.t().times(x.times(b, ALL).view(), ALL));
            [at_a, at_b.then(|| x.t().times(low.view(), ALL))].map(|m| m.map(tensor))
        });
        let at_weight = wanted.weight.then(|| tensor(g.t().times(x, ALL)));
        let at_bias = wanted.bias.map(|wanted| wanted.then(|| column_sums(g)));
        self.gradients(at_x.map(tensor), at_weight, at_bias, at_lora)
    }

    /// The cross-Hessian products. With `h_A = h A` and `h_V = h Ȧ`:
    ///
    /// - at x: h_V Bᵀ + h_A Ḃᵀ, at A: hᵀ (ẋ B + x Ḃ), at B: ẋᵀ h_A + xᵀ h_V;
    /// - at ẋ: h W + h_A Bᵀ, at Ȧ: hᵀ (x B), at Ḃ: xᵀ h_A.
    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        let (wanted, wanted_dx) = wanted.split_at(x.len());
        let (wanted, wanted_dx) = (self.inputs(wanted), self.inputs(wanted_dx));
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let LoraInputs { x: dx, lora: dlora, .. } = self.inputs(dx);
        let (x, weight, h) = (matrix(&x), matrix(&weight), matrix(&h));
        let dx = dx.as_ref().map(matrix);

        let mut at_dx = wanted_dx.x.then(|| h.times(weight, ALL));
        let mut at_x = wanted.x.then(|| Dense::zeros(x.size()[0], x.size()[1]));
        let mut at_lora = self.lora.then_some([None, None]);
        let mut at_dlora = at_lora.clone();
        if let (Some(lora), Some(dlora)) = (&lora, &dlora) {
            let ([a, b], [da, db]) = (lora.each_ref().map(matrix), tangents(dlora));
            let h_a = h.times(a, ALL);
            let h_v = da.map(|da| h.times(da, ALL));
            if let Some(at_dx) = &mut at_dx {
                h_a.view().add_times(b.t(), at_dx, ALL);
            }
            if let Some(at_x) = &mut at_x {
                if let Some(h_v) = &h_v {
                    h_v.view().add_times(b.t(), at_x, ALL);
                }
                if let Some(db) = db {
                    h_a.view().add_times(db.t(), at_x, ALL);
                }
            }
            let [at_a, at_b] = wanted.lora.expect("one entry per input");
            let [at_da, at_db] = wanted_dx.lora.expect("one entry per input");
            let at_a = at_a.then(|| h.t().times(low_tangent(x, dx, b, db).view(), ALL));
            let at_b = at_b.then(|| {
                let mut sum = Dense::zeros(x.size()[1], b.size()[1]);
                if let Some(dx) = dx {
                    dx.t().add_times(h_a.view(), &mut sum, ALL);
                }
                if let Some(h_v) = &h_v {
                    x.t().add_times(h_v.view(), &mut sum, ALL);
                }
                sum
            });
            let at_da = at_da.then(|| h.t().times(x.times(b, ALL).view(), ALL));
            let at_db = at_db.then(|| x.t().times(h_a.view(), ALL));
            at_lora = Some([at_a, at_b].map(|m| m.map(tensor)));
            at_dlora = Some([at_da, at_db].map(|m| m.map(tensor)));
        }
        let frozen = || self.bias.then_some(None);
        let mut all = self.gradients(at_x.map(tensor), None, frozen(), at_lora);
        all.extend(self.gradients(at_dx.map(tensor), None, frozen(), at_dlora));
        all
    }
}

impl LoraLinear {
    /// The gradients in the order of the inputs.
    fn gradients(
        &self,
        x: Option<FlexTensor>,
        weight: Option<FlexTensor>,
        bias: Option<Option<FlexTensor>>,
        lora: Option<[Option<FlexTensor>; 2]>,
    ) -> Gradients<Flex> {
        [x, weight].into_iter().chain(bias).chain(lora.into_iter().flatten()).collect()
    }
}

fn tangents(dlora: &[Option<FlexTensor>; 2]) -> [Option<Matrix<'_>>; 2] {
    dlora.each_ref().map(|m| m.as_ref().map(matrix))
}

/// ẋ B + x Ḃ
fn low_tangent(x: Matrix, dx: Option<Matrix>, b: Matrix, db: Option<Matrix>) -> Dense {
    let mut low = Dense::zeros(x.size()[0], b.size()[1]);
    if let Some(dx) = dx {
        dx.add_times(b, &mut low, ALL);
    }
    if let Some(db) = db {
        x.add_times(db, &mut low, ALL);
    }
    low
}

fn repeat_row(row: &[f32], rows: usize) -> Dense {
    let mut y = Dense::zeros(rows, row.len());
    y.values.par_chunks_mut(row.len()).for_each(|y| y.copy_from_slice(row));
    y
}

fn column_sums(g: Matrix) -> FlexTensor {
    let ones = vec![1.0; g.size()[0]];
    let sums = Matrix::new(&ones, 1, ones.len()).times(g, ALL);
    new_tensor(sums.values, [sums.columns])
}
