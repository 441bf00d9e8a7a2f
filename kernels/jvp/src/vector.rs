//! Parameters of any shapes as one vector space.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorMetadata, TensorPrimitive, backend::Backend};

use crate::Dual;

/// Tensors of any shapes, addressed by number, as one vector; `None` is an exact zero.
#[derive(Debug, Clone)]
pub struct Vector<B: Backend>(pub(crate) Vec<Option<FloatTensor<B>>>);

impl<B: Backend> Default for Vector<B> {
    /// A vector without tensors.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend, const D: usize> From<Tensor<B, D>> for Vector<B> {
    fn from(tensor: Tensor<B, D>) -> Self {
        Self::default().with(tensor)
    }
}

impl<B: Backend> Vector<B> {
    /// With one more tensor, whose number is the length before.
    pub fn with<const D: usize>(mut self, tensor: Tensor<B, D>) -> Self {
        self.push(Some(tensor));
        self
    }

    /// Adds a tensor, or an exact zero.
    pub fn push<const D: usize>(&mut self, tensor: Option<Tensor<B, D>>) {
        self.0.push(tensor.map(|tensor| tensor.into_primitive().tensor()));
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tensor with this number; `None` if it is an exact zero.
    ///
    /// # Panics
    /// If there is no such number. A wrong rank `D` panics where the tensor is used.
    pub fn get<const D: usize>(&self, number: usize) -> Option<Tensor<B, D>> {
        self.0[number].clone().map(tensor)
    }

    /// `self + factor · other`
    ///
    /// # Panics
    /// If the vectors differ in length, or tensors of the same number in shape.
    pub fn axpy(&self, factor: f64, other: &Self) -> Self {
        assert_eq!(self.len(), other.len(), "vectors of the same space");
        let part = |(a, b): (&Option<FloatTensor<B>>, &Option<FloatTensor<B>>)| {
            let shape = a.as_ref().or(b.as_ref())?.shape();
            let [a, b] = [a, b].map(|t| t.clone().map(flat::<B>));
            let sum = match (a, b.map(|b| b.mul_scalar(factor))) {
                (Some(a), Some(b)) => a + b,
                (a, b) => a.or(b)?,
            };
            Some(B::float_reshape(sum.into_primitive().tensor(), shape))
        };
        Self(self.0.iter().zip(&other.0).map(part).collect())
    }

    /// `factor · self`
    pub fn scale(&self, factor: f64) -> Self {
        let part = |t: &Option<FloatTensor<B>>| {
            let t = t.clone()?;
            let shape = t.shape();
            let scaled = flat::<B>(t).mul_scalar(factor);
            Some(B::float_reshape(scaled.into_primitive().tensor(), shape))
        };
        Self(self.0.iter().map(part).collect())
    }

    /// `⟨self, other⟩` as `[1]` on the device; `None` if it is an exact zero.
    ///
    /// # Panics
    /// If the vectors differ in length, or tensors of the same number in shape.
    pub fn dot(&self, other: &Self) -> Option<Tensor<B, 1>> {
        assert_eq!(self.len(), other.len(), "vectors of the same space");
        let pairs = self.0.iter().zip(&other.0).filter_map(|(a, b)| a.clone().zip(b.clone()));
        let terms = pairs.map(|(a, b)| (flat::<B>(a) * flat::<B>(b)).sum());
        terms.reduce(|sum, term| sum + term)
    }

    /// The Euclidean norm as a number; waits for the device.
    pub fn norm(&self) -> f64 {
        self.dot(self).map_or(0.0, |square| number(square).sqrt())
    }
}

/// Parameters as a function sees them: values, with tangents where they move.
#[derive(Debug, Clone)]
pub struct Parameters<B: Backend> {
    pub(crate) primal: Vec<Option<FloatTensor<B>>>,
    pub(crate) tangent: Vec<Option<FloatTensor<B>>>,
}

impl<B: Backend> Parameters<B> {
    /// Parameters that do not move, for a plain evaluation of the function.
    pub fn constant(at: &Vector<B>) -> Self {
        Self { primal: at.0.clone(), tangent: vec![None; at.len()] }
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.primal.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.primal.is_empty()
    }

    /// The parameter with this number.
    ///
    /// # Panics
    /// If there is none, or it is an exact zero. A wrong rank `D` panics where it is used.
    pub fn get<const D: usize>(&self, number: usize) -> Dual<B, D> {
        self.find(number).unwrap_or_else(|| panic!("parameter {number} is an exact zero"))
    }

    /// The parameter with this number; `None` if it is an exact zero.
    ///
    /// # Panics
    /// If there is none. A wrong rank `D` panics where it is used.
    pub fn find<const D: usize>(&self, number: usize) -> Option<Dual<B, D>> {
        let primal = tensor(self.primal[number].clone()?);
        Some(Dual { primal, tangent: self.tangent[number].clone().map(tensor) })
    }
}

/// The one element of a tensor, in full precision: `into_scalar` would round to the backend's own
/// element type.
pub(crate) fn number<B: Backend>(tensor: Tensor<B, 1>) -> f64 {
    tensor.into_data().iter().next().expect("one element")
}

fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn flat<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 1> {
    let elements = primitive.shape().num_elements();
    tensor(B::float_reshape(primitive, Shape::new([elements])))
}
