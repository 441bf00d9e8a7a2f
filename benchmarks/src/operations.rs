//! Single operations at SD1.5's shapes, in four forms.

use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::attention::AttentionMask;
use burn_seqlora::kernels::lora_linear::LoraFactors;
use burn_seqlora::kernels::ops;
use burn_seqlora::kernels::{Activation, TrainBackend};
use burn_seqlora::rng::{Seed, normal};

use crate::row::Row;

/// Rank of the adapters.
const RANK: usize = 4;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The value.
    Forward,
    /// The value and its gradient at every input.
    Gradient,
    /// The value with its tangent.
    Tangent,
    /// The value with its tangent and one backward pass through both: a Hessian product's share.
    Second,
}

const FORMS: [(Form, &str); 4] = [
    (Form::Forward, "forward"),
    (Form::Gradient, "gradient"),
    (Form::Tangent, "tangent"),
    (Form::Second, "second"),
];

/// Where numbers lie, and how.
type Place<'a, D> = (&'a D, FloatDType);

/// All operations in all forms.
pub fn rows<B: TrainBackend>(place: Place<'_, B::Device>) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for [tokens, inputs, outputs] in [[1024, 320, 320], [64, 1280, 1280]] {
        let name = format!("linear_lora/{tokens}x{inputs}x{outputs}");
        let (weight, bias) = (random::<B, 2>([outputs, inputs], place), random([outputs], place));
        let sizes = [[tokens, inputs], [outputs, RANK], [inputs, RANK]];
        // As in a Hessian product, x and A move, and B does not.
        add::<B, 2, 2, 3>(&mut rows, place, name, sizes, 2, move |[x, up, down]| {
            let lora = LoraFactors { up, down };
            ops::lora_linear(x, weight.clone(), Some(bias.clone()), Some(lora), None)
        });
    }
    for [tokens, inputs, outputs] in [[1024, 320, 320], [1024, 1280, 320], [1232, 768, 3072]] {
        let name = format!("matmul/{tokens}x{inputs}x{outputs}");
        let weight = random::<B, 2>([outputs, inputs], place);
        add::<B, 2, 2, 1>(&mut rows, place, name, [[tokens, inputs]], 1, move |[x]| {
            ops::lora_linear(x, weight.clone(), None, None, None)
        });
    }
    for (channels, side) in [(320, 32), (1280, 8)] {
        let name = format!("conv3x3/1x{channels}x{side}x{side}");
        let weight = random::<B, 4>([channels, channels, 3, 3], place);
        let bias = random([channels], place);
        let sizes = [[1, channels, side, side]];
        add::<B, 4, 4, 1>(&mut rows, place, name, sizes, 1, move |[x]| {
            ops::conv2d(x, weight.clone(), bias.clone(), 1, 1, None)
        });
    }
    let (full, causal) = (AttentionMask::Full, AttentionMask::Causal);
    for (name, [batch, heads, queries, keys, d], mask) in [
        ("self_1x8x1024x40", [1, 8, 1024, 1024, 40], full),
        ("cross_1x8x1024x40_77", [1, 8, 1024, 77, 40], full),
        ("causal_16x12x77x64", [16, 12, 77, 77, 64], causal),
    ] {
        let size = |tokens| [batch, tokens, heads * d];
        let sizes = [size(queries), size(keys), size(keys)];
        let name = format!("attention/{name}");
        add::<B, 3, 3, 3>(&mut rows, place, name, sizes, 3, move |[q, k, v]| {
            ops::attention(q, k, v, heads, mask)
        });
    }
    for (channels, side) in [(320, 32), (1280, 8)] {
        let name = format!("group_norm_silu/1x{channels}x{side}x{side}");
        let [weight, bias] = [(); 2].map(|_| random::<B, 1>([channels], place));
        let sizes = [[1, channels, side, side]];
        add::<B, 4, 4, 1>(&mut rows, place, name, sizes, 1, move |[x]| {
            let y = ops::group_norm(x, 32, weight.clone(), bias.clone(), 1e-5);
            ops::activation(Activation::Silu, y)
        });
    }
    let [weight, bias] = [(); 2].map(|_| random::<B, 1>([320], place));
    let name = "layer_norm/1024x320".into();
    add::<B, 2, 2, 1>(&mut rows, place, name, [[1024, 320]], 1, move |[x]| {
        ops::layer_norm(x, weight.clone(), bias.clone(), 1e-5)
    });
    let name = "silu/1x320x32x32".into();
    add::<B, 4, 4, 1>(&mut rows, place, name, [[1, 320, 32, 32]], 1, |[x]| {
        ops::activation(Activation::Silu, x)
    });
    let name = "geglu/1024x2560".into();
    add::<B, 2, 2, 1>(&mut rows, place, name, [[1024, 2560]], 1, |[x]| ops::geglu(x));
    rows
}

/// One operation in all forms; the first `moving` inputs have a tangent in the last one.
fn add<'a, B: TrainBackend, const D: usize, const E: usize, const N: usize>(
    rows: &mut Vec<Row<'a>>,
    place: Place<'a, B::Device>,
    name: String,
    sizes: [[usize; D]; N],
    moving: usize,
    operation: impl Fn([Dual<B, D>; N]) -> Dual<B, E> + Clone + 'a,
) {
    for (form, suffix) in FORMS {
        let operation = operation.clone();
        rows.push(Row::new(format!("{name}/{suffix}"), move || {
            let values = sizes.map(|size| random::<B::InnerBackend, D>(size, place));
            let tangents = sizes.map(|size| random::<B::InnerBackend, D>(size, place));
            let operation = operation.clone();
            move || {
                let leaf = |tensor: &Tensor<B::InnerBackend, D>| {
                    let leaf = Tensor::<B, D>::from_inner(tensor.clone());
                    let backwards = matches!(form, Form::Gradient | Form::Second);
                    if backwards { leaf.require_grad() } else { leaf }
                };
                let inputs = std::array::from_fn(|i| {
                    let tangent = matches!(form, Form::Tangent | Form::Second) && i < moving;
                    Dual { primal: leaf(&values[i]), tangent: tangent.then(|| leaf(&tangents[i])) }
                });
                let Dual { primal: y, tangent: dy } = operation(inputs);
                match (form, dy) {
                    (Form::Forward | Form::Tangent, dy) => drop((y, dy)),
                    (_, None) => drop(y.backward()),
                    (_, Some(dy)) => drop((y + dy).backward()),
                }
                B::sync(place.0).expect("the device answers");
            }
        }));
    }
}

fn random<B: Backend, const D: usize>(
    size: [usize; D],
    (device, dtype): Place<'_, B::Device>,
) -> Tensor<B, D> {
    let fan_in = size.iter().product::<usize>() as f64 / size[0] as f64;
    let values = normal::<B, D>(size, &mut Seed::new(0).at(0), device).cast(dtype);
    if D == 1 { values } else { values.mul_scalar(fan_in.powf(-0.25)) }
}
