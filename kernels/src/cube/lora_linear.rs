//! A linear layer with its adapter. The products with A and B are by
//! kernels that read each wide matrix once and add to the wide product in place.

use burn_cubecl::CubeRuntime;
use burn_cubecl::ops::numeric::ones_client;
use burn_cubecl::tensor::CubeTensor;

use super::matmul::product;
use super::{Gradients, Tuned, dims, outer, thin, transpose};
use crate::lora_linear::{LoraInputs, LoraLinear};

impl Tuned for LoraLinear {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        let LoraInputs { x, weight, bias, lora } = self.inputs(x);
        let y = product(&x, &transpose(&weight));
        match &lora {
            Some([a, b]) => outer::add_products(y, &[[&thin::product(&x, b), a]], bias.as_ref()),
            None => outer::add_products(y, &[], bias.as_ref()),
        }
    }

    /// `ẏ = ẋ Wᵀ + (ẋ B + x Ḃ) Aᵀ + (x B) Ȧᵀ`
    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let LoraInputs { x: dx, lora: dlora, .. } = self.inputs(dx);
        let factors = lora.as_ref().zip(dlora.as_ref()).map(|([a, b], [da, db])| {
            let low = low_tangent(&x, dx.as_ref(), b, db.as_ref()).map(|low| [low, a.clone()]);
            let up = da.as_ref().map(|da| [thin::product(&x, b), da.clone()]);
            [low, up]
        });
        let pairs: Vec<_> =
            factors.iter().flatten().flatten().map(|pair| pair.each_ref()).collect();
        match &dx {
            Some(dx) => outer::add_products(product(dx, &transpose(&weight)), &pairs, None),
            None => {
                outer::sum_of_products(&x, [dims::<2, _>(&x)[0], dims::<2, _>(&weight)[0]], &pairs)
            }
        }
    }

    /// With `g_A = g A`: g W + g_A Bᵀ at x, gᵀ (x B) at A, xᵀ g_A at B, gᵀ x at W, Σ g at b.
    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let wanted = self.inputs(wanted);
        let mut at_x = wanted.x.then(|| product(&g, &weight));
        let at_weight = wanted.weight.then(|| product(&transpose(&g), &x));
        let at_bias = wanted.bias.map(|wanted| wanted.then(|| column_sums(&g)));
        let at_lora = lora.as_ref().zip(wanted.lora).map(|([a, b], [at_a, at_b])| {
            let g_a = thin::product(&g, a);
            at_x = at_x.take().map(|at_x| outer::add_products(at_x, &[[&g_a, b]], None));
            let at_a = at_a.then(|| thin::product(&transpose(&g), &thin::product(&x, b)));
            [at_a, at_b.then(|| thin::product(&transpose(&x), &g_a))]
        });
        in_order(at_x, at_weight, at_bias, at_lora)
    }

    /// The cross-Hessian products. With `h_A = h A` and `h_V = h Ȧ`:
    ///
    /// - at x: h_V Bᵀ + h_A Ḃᵀ, at A: hᵀ (ẋ B + x Ḃ), at B: ẋᵀ h_A + xᵀ h_V;
    /// - at ẋ: h W + h_A Bᵀ, at Ȧ: hᵀ (x B), at Ḃ: xᵀ h_A.
    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let (wanted, wanted_dx) = wanted.split_at(x.len());
        let (wanted, wanted_dx) = (self.inputs(wanted), self.inputs(wanted_dx));
        let LoraInputs { x, weight, lora, .. } = self.inputs(x);
        let LoraInputs { x: dx, lora: dlora, .. } = self.inputs(dx);
        let dx = dx.as_ref();
        let (xt, ht) = (transpose(&x), transpose(&h));

        let mut at_dx = wanted_dx.x.then(|| product(&h, &weight));
        let [mut at_lora, mut at_dlora] = [None, None];
        let mut across = [None, None];
        if let (Some([a, b]), Some([da, db])) = (&lora, &dlora) {
            let h_a = thin::product(&h, a);
            let h_v = da.as_ref().map(|da| thin::product(&h, da));
            at_dx = at_dx.map(|at_dx| outer::add_products(at_dx, &[[&h_a, b]], None));

            let [at_a, at_b] = wanted.lora.expect("one entry per input");
            let at_a = at_a.then(|| {
                let low = low_tangent(&x, dx, b, db.as_ref());
                sum(a, &[low.as_ref().map(|low| [&ht, low])])
            });
            let at_b = at_b.then(|| {
                let dxt = dx.map(transpose);
                sum(b, &[dxt.as_ref().map(|dxt| [dxt, &h_a]), h_v.as_ref().map(|h_v| [&xt, h_v])])
            });
            at_lora = Some([at_a, at_b]);

            let [at_da, at_db] = wanted_dx.lora.expect("one entry per input");
            let at_da = at_da.then(|| thin::product(&ht, &thin::product(&x, b)));
            at_dlora = Some([at_da, at_db.then(|| thin::product(&xt, &h_a))]);

            across = [h_v.map(|h_v| [h_v, b.clone()]), db.clone().map(|db| [h_a, db])];
        }
        let at_x = wanted.x.then(|| {
            let pairs: Vec<_> = across.iter().flatten().map(|pair| pair.each_ref()).collect();
            outer::sum_of_products(&x, dims(&x), &pairs)
        });
        let frozen = || self.bias.then_some(None);
        let mut all = in_order(at_x, None, frozen(), at_lora);
        all.extend(in_order(at_dx, None, frozen(), at_dlora));
        all
    }
}

/// ẋ B + x Ḃ; `None` if neither tangent is there.
fn low_tangent<R: CubeRuntime>(
    x: &CubeTensor<R>,
    dx: Option<&CubeTensor<R>>,
    b: &CubeTensor<R>,
    db: Option<&CubeTensor<R>>,
) -> Option<CubeTensor<R>> {
    let pairs: Vec<_> =
        [dx.map(|dx| [dx, b]), db.map(|db| [x, db])].into_iter().flatten().collect();
    let size = [dims::<2, _>(x)[0], dims::<2, _>(b)[1]];
    (!pairs.is_empty()).then(|| thin::sum_of_products(x, size, &pairs))
}

/// The sum of the products that are there, of the size of `factor`.
fn sum<R: CubeRuntime>(
    factor: &CubeTensor<R>,
    pairs: &[Option<[&CubeTensor<R>; 2]>],
) -> CubeTensor<R> {
    let pairs: Vec<_> = pairs.iter().flatten().copied().collect();
    thin::sum_of_products(factor, dims(factor), &pairs)
}

/// `gᵀ 1`
fn column_sums<R: CubeRuntime>(g: &CubeTensor<R>) -> CubeTensor<R> {
    let [rows, columns] = dims(g);
    let ones = ones_client(g.client.clone(), g.device.clone(), [rows, 1].into(), g.dtype);
    let sums = thin::product(&transpose(g), &ones);
    CubeTensor::new_contiguous(sums.client, sums.device, [columns].into(), sums.handle, sums.dtype)
}

/// Gradients in the order of the inputs.
fn in_order<R: CubeRuntime>(
    x: Option<CubeTensor<R>>,
    weight: Option<CubeTensor<R>>,
    bias: Option<Option<CubeTensor<R>>>,
    lora: Option<[Option<CubeTensor<R>>; 2]>,
) -> Gradients<R> {
    [x, weight].into_iter().chain(bias).chain(lora.into_iter().flatten()).collect()
}
