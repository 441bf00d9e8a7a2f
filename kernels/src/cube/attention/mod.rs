//! Attention on GPUs. Kernels go tile by tile over the keys with a softmax that is brought up to date as they go (online
//! softmax), so that no matrix of scores is in memory; they compute in f32 also where the tensors have 16 bits. Where a GPU is
//! only software, attention consists of matrix products in blocks of queries.

mod backward;
mod forward;
mod tiles;

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;

use self::backward::{keys_kernel, queries_kernel};
use self::forward::{statistics_kernel, tangent_kernel, value_kernel};
use self::tiles::{TILE, fits};
use super::strided::{Strided, StridedLaunch, contiguous, strided};
use super::{Gradients, Tuned, all_tuned, cube_each, dims, empty_like, is_hardware};
use crate::attention::blocks::Blocks;
use crate::attention::{Attention, AttentionMask, TiledAttention};
use crate::operation::{BackwardPasses, Kernel, Operation};

/// The most scores of a block. They take 64 MB in f32, and derivatives hold several such matrices.
/// Unlimited, Stable Diffusion 1.5 has 268 million scores in its first layers, at 512 pixels with
/// guidance.
const SCORES: usize = 1 << 24;

fn blocks(attention: &Attention) -> Blocks {
    Blocks { attention: *attention, scores: SCORES }
}

impl<R, F, I, BT> Kernel<Attention> for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn value(attention: &Attention, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        match (all_tuned(x), Tiled::if_faster(attention, x)) {
            (true, Some(tiled)) => tiled.value(),
            (true, None) => blocks(attention).value::<Self>(x),
            (false, _) => Operation::value::<Self>(attention, x),
        }
    }

    fn tangent(
        attention: &Attention,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        match (all_tuned(x), Tiled::if_faster(attention, x)) {
            (true, Some(tiled)) => tiled.tangent(dx),
            (true, None) => blocks(attention).tangent::<Self>(x, dx),
            (false, _) => Operation::tangent::<Self>(attention, x, dx),
        }
    }

    fn backward(x: &[CubeTensor<R>]) -> Option<BackwardPasses<Self, Attention>> {
        let passes = BackwardPasses {
            of_value: |attention, x, g, wanted| match Tiled::if_faster(attention, x) {
                Some(tiled) => tiled.backward(&[], g, wanted),
                None => blocks(attention).adjoint::<Self>(x, g, wanted),
            },
            of_tangent: |attention, x, dx, h, wanted| match Tiled::if_faster(attention, x) {
                Some(tiled) => tiled.backward(dx, h, wanted),
                None => blocks(attention).tangent_adjoint::<Self>(x, dx, h, wanted),
            },
        };
        all_tuned(x).then_some(passes)
    }
}

impl Tuned for TiledAttention {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        Tiled::new(&self.0, x).value()
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        Tiled::new(&self.0, x).tangent(dx)
    }

    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        Tiled::new(&self.0, x).backward(&[], g, wanted)
    }

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        Tiled::new(&self.0, x).backward(dx, h, wanted)
    }
}

/// The inputs and outputs of the largest kernel, and its sizes.
const BINDINGS: u32 = 13;

/// Attention by tiles.
struct Tiled<'a, R: CubeRuntime> {
    x: &'a [CubeTensor<R>],
    /// d
    width: usize,
    causal: bool,
}

impl<'a, R: CubeRuntime> Tiled<'a, R> {
    fn new(attention: &Attention, x: &'a [CubeTensor<R>]) -> Self {
        let [_, _, channels] = dims(&x[0]);
        let width = channels / attention.heads;
        Self { x, width, causal: attention.mask == AttentionMask::Causal }
    }

    /// `None` where heads are too wide, on a device that binds fewer buffers than the kernels have (WebGPU
    /// promises 8; adapters of desktops have hundreds of thousands), and where a GPU is only software.
    fn if_faster(attention: &Attention, x: &'a [CubeTensor<R>]) -> Option<Self> {
        let tiled = Self::new(attention, x);
        let bindings = x[0].client.properties().hardware.max_bindings;
        let applies = is_hardware(&x[0]) && bindings >= BINDINGS;
        (applies && fits(tiled.width)).then_some(tiled)
    }

    /// 1/√d
    fn scale(&self) -> f32 {
        (self.width as f32).powf(-0.5)
    }

    /// A cube for each tile of tokens of each head.
    fn cubes(&self, x: &CubeTensor<R>) -> (CubeCount, CubeDim) {
        let [batch, tokens, channels] = dims(x);
        cube_each(x, batch * channels / self.width * tokens.div_ceil(TILE))
    }

    fn input<F: CubePrimitive>(&self, number: usize) -> StridedLaunch<F, R> {
        contiguous(&self.x[number])
    }

    /// The shape of an input.
    fn empty(&self, number: usize) -> CubeTensor<R> {
        empty_like(&self.x[number], self.x[number].shape())
    }

    fn value(&self) -> CubeTensor<R> {
        let (cubes, cube) = self.cubes(&self.x[0]);
        let o = self.empty(0);
        value_kernel::launch(
            &o.client,
            cubes,
            cube,
            self.input(0),
            self.input(1),
            self.input(2),
            strided(&o),
            self.scale(),
            self.width,
            self.causal,
            o.dtype.into(),
        );
        o
    }

    fn tangent(&self, dx: &[Option<CubeTensor<R>>]) -> CubeTensor<R> {
        let (cubes, cube) = self.cubes(&self.x[0]);
        let o = self.empty(0);
        tangent_kernel::launch(
            &o.client,
            cubes,
            cube,
            self.input(0),
            self.input(1),
            self.input(2),
            tangent(dx, 0),
            tangent(dx, 1),
            tangent(dx, 2),
            strided(&o),
            self.scale(),
            self.width,
            self.causal,
            o.dtype.into(),
        );
        o
    }

    /// The gradients of ⟨g, value⟩ if there are no tangents, and of ⟨g, tangent⟩ otherwise.
    fn backward(
        &self,
        dx: &[Option<CubeTensor<R>>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let of_tangent = !dx.is_empty();
        let is_wanted = |number: usize| wanted.get(number).copied().unwrap_or(false);
        let statistics = self.statistics(dx, &g);
        let mut gradients: Gradients<R> = vec![None; wanted.len()];
        if is_wanted(0) || is_wanted(3) {
            let (cubes, cube) = self.cubes(&self.x[0]);
            let at = [0, 3].map(|_| self.empty(0));
            queries_kernel::launch(
                &g.client,
                cubes,
                cube,
                self.input(0),
                self.input(1),
                self.input(2),
                tangent(dx, 0),
                tangent(dx, 1),
                tangent(dx, 2),
                contiguous(&g),
                strided(&statistics),
                strided(&at[0]),
                strided(&at[1]),
                self.scale(),
                self.width,
                self.causal,
                of_tangent,
                g.dtype.into(),
            );
            for (at, number) in at.into_iter().zip([0, 3]) {
                if is_wanted(number) {
                    gradients[number] = Some(at);
                }
            }
        }
        if [1, 2, 4, 5].into_iter().any(is_wanted) {
            let (cubes, cube) = self.cubes(&self.x[1]);
            let at = [1, 2, 4, 5].map(|_| self.empty(1));
            keys_kernel::launch(
                &g.client,
                cubes,
                cube,
                self.input(0),
                self.input(1),
                self.input(2),
                tangent(dx, 0),
                tangent(dx, 1),
                tangent(dx, 2),
                contiguous(&g),
                strided(&statistics),
                strided(&at[0]),
                strided(&at[1]),
                strided(&at[2]),
                strided(&at[3]),
                self.scale(),
                self.width,
                self.causal,
                of_tangent,
                g.dtype.into(),
            );
            for (at, number) in at.into_iter().zip([1, 2, 4, 5]) {
                if is_wanted(number) {
                    gradients[number] = Some(at);
                }
            }
        }
        gradients
    }

    /// Four numbers for each query, `[batch × heads, queries, 4]`.
    fn statistics(&self, dx: &[Option<CubeTensor<R>>], g: &CubeTensor<R>) -> CubeTensor<R> {
        let (cubes, cube) = self.cubes(&self.x[0]);
        let [batch, queries, channels] = dims(&self.x[0]);
        let shape = Shape::from([batch * channels / self.width, queries, 4]);
        let handle = g.client.empty(shape.num_elements() * size_of::<f32>());
        let (client, device) = (g.client.clone(), g.device.clone());
        let statistics = CubeTensor::new_contiguous(client, device, shape, handle, DType::F32);
        statistics_kernel::launch(
            &g.client,
            cubes,
            cube,
            self.input(0),
            self.input(1),
            self.input(2),
            tangent(dx, 0),
            tangent(dx, 1),
            tangent(dx, 2),
            contiguous(g),
            strided(&statistics),
            self.scale(),
            self.width,
            self.causal,
            !dx.is_empty(),
            g.dtype.into(),
        );
        statistics
    }
}

/// The tangent of an input, if it has one.
fn tangent<R: CubeRuntime, F: CubePrimitive>(
    dx: &[Option<CubeTensor<R>>],
    number: usize,
) -> ComptimeOptionArgs<Strided<F>, R> {
    dx.get(number).cloned().flatten().map(|dx| contiguous(&dx)).into()
}
