//! Derivatives of a loss in the factors: gradient, Hessian products, unrolled hypergradient.

mod gradient;
mod hessian;
mod hypergradient;

pub use gradient::{ConceptParameters, Gradient, Objective, Wrt, gradient};
pub use hessian::{HessianProduct, Hvp, hessian_product, hessian_product_fd};
pub use hypergradient::{HyperGradient, InnerStep, hypergradient};
