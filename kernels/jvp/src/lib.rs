//! Forward-mode differentiation for [Burn](https://burn.dev): dual numbers over tensors, and exact
//! Hessian-vector products by reverse-over-forward differentiation.
//!
//! Burn's `Autodiff` differentiates backward only. Here every value carries its directional
//! derivative (its *tangent*) along with it, and one ordinary backward pass from the tangent of a
//! loss gives the product of its Hessian with the direction:
//!
//! - [`Dual`] is a tensor with its tangent. `None` is a tangent of exactly zero and costs nothing,
//!   so the same `forward` function serves inference, gradients and Hessian products;
//! - [`Vector`] holds tensors of any shapes as one element of a vector space, and [`Parameters`]
//!   are such tensors as the arguments of a function;
//! - [`gradient`] gives a loss and its gradient, [`jvp`] a value and its directional derivative,
//!   and [`hessian_product`] the product of the Hessian with a direction.
//!
//! ```
//! use burn::backend::Autodiff;
//! use burn::tensor::Tensor;
//! use burn_flex::Flex;
//! use burn_jvp::{Dual, Parameters, Vector, hessian_product};
//!
//! type B = Autodiff<Flex>;
//!
//! /// f(x) = Σ x³, whose Hessian is diag(6x).
//! fn f(parameters: &Parameters<B>) -> Dual<B, 1> {
//!     let x = parameters.get::<1>(0);
//!     (x.clone() * x.clone() * x).sum()
//! }
//!
//! let device = Default::default();
//! let at = Vector::from(Tensor::<Flex, 1>::from_data([1.0, 2.0], &device));
//! let direction = Vector::from(Tensor::<Flex, 1>::from_data([1.0, 10.0], &device));
//! let product = hessian_product::<B>(f, &at, &direction, |_| true);
//! let product = product.get::<1>(0).unwrap().to_data();
//! assert_eq!(product.iter::<f32>().collect::<Vec<_>>(), [6.0, 120.0]);
//! ```

mod derivatives;
mod dual;
mod parameters;
mod total;
mod vector;

pub use derivatives::{Gradient, gradient, hessian_product, hessian_product_by_differences, jvp};
pub use dual::{Dual, add_tangents};
pub use parameters::Parameters;
pub use total::{overall_mean, total};
pub use vector::Vector;

/// The README's example compiles and runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
