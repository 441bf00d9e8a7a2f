//! Tensors of any shapes as one element of a vector space.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorMetadata, TensorPrimitive, backend::Backend};

/// A list of tensors of any ranks and shapes as one vector: the parameters of a function, its
/// gradient, or a direction.
///
/// Tensors are addressed by index. An entry of `None` is an exact zero, which takes no memory and
/// no computation.
#[derive(Debug, Clone)]
pub struct Vector<B: Backend>(pub(crate) Vec<Option<FloatTensor<B>>>);

impl<B: Backend> Default for Vector<B> {
    /// A vector without entries.
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Backend, const D: usize> From<Tensor<B, D>> for Vector<B> {
    /// A vector of one tensor.
    fn from(tensor: Tensor<B, D>) -> Self {
        Self::default().with(tensor)
    }
}

impl<B: Backend, const D: usize> FromIterator<Tensor<B, D>> for Vector<B> {
    /// A vector of tensors of one rank.
    fn from_iter<I: IntoIterator<Item = Tensor<B, D>>>(tensors: I) -> Self {
        tensors.into_iter().fold(Self::default(), Self::with)
    }
}

impl<B: Backend> Vector<B> {
    /// The vector with one more tensor at the end.
    pub fn with<const D: usize>(mut self, tensor: Tensor<B, D>) -> Self {
        self.push(Some(tensor));
        self
    }

    /// Adds a tensor, or an exact zero, at the end.
    pub fn push<const D: usize>(&mut self, tensor: Option<Tensor<B, D>>) {
        self.0.push(tensor.map(|tensor| tensor.into_primitive().tensor()));
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tensor at an index; `None` if it is an exact zero.
    ///
    /// # Panics
    /// If there is no such index, or the tensor is not of rank `D`.
    pub fn get<const D: usize>(&self, index: usize) -> Option<Tensor<B, D>> {
        self.0[index].clone().map(|entry| ranked(index, entry))
    }

    /// A function of each element, such as a square root. The function sees each tensor in one
    /// dimension; exact zeros stay exact zeros.
    ///
    /// # Panics
    /// If the function changes the number of elements.
    pub fn map(&self, function: impl Fn(Tensor<B, 1>) -> Tensor<B, 1>) -> Self {
        let map = |entry: FloatTensor<B>| {
            let shape = entry.shape();
            shaped(function(flat::<B>(entry)), shape)
        };
        Self(self.0.iter().map(|entry| entry.clone().map(map)).collect())
    }

    /// `factor · self`
    pub fn scale(&self, factor: f64) -> Self {
        self.map(|entry| entry.mul_scalar(factor))
    }

    /// `self + factor · other`
    ///
    /// # Panics
    /// If the vectors differ in length, or two of their tensors in shape.
    pub fn axpy(&self, factor: f64, other: &Self) -> Self {
        self.zip(other, |a, b| match (a, b.map(|b| b.mul_scalar(factor))) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        })
    }

    /// The product of the vectors element by element, for example with a diagonal preconditioner.
    ///
    /// # Panics
    /// If the vectors differ in length, or two of their tensors in shape.
    pub fn mul(&self, other: &Self) -> Self {
        self.zip(other, |a, b| Some(a? * b?))
    }

    /// The inner product ⟨self, other⟩ as `[1]` on the device; `None` if it is an exact zero.
    ///
    /// # Panics
    /// If the vectors differ in length, or two of their tensors in shape.
    pub fn dot(&self, other: &Self) -> Option<Tensor<B, 1>> {
        self.check_shapes(other);
        let pairs = self.0.iter().zip(&other.0).filter_map(|(a, b)| a.clone().zip(b.clone()));
        let terms = pairs.map(|(a, b)| (flat::<B>(a) * flat::<B>(b)).sum());
        terms.reduce(|sum, term| sum + term)
    }

    /// The Euclidean norm. It is read from the device, so it waits for what was launched before.
    pub fn norm(&self) -> f64 {
        self.dot(self).map_or(0.0, |square| number(square).sqrt())
    }

    /// Combines the tensors of two vectors entry by entry, each in one dimension.
    fn zip(
        &self,
        other: &Self,
        combine: impl Fn(Option<Tensor<B, 1>>, Option<Tensor<B, 1>>) -> Option<Tensor<B, 1>>,
    ) -> Self {
        self.check_shapes(other);
        let combine = |(a, b): (&Option<FloatTensor<B>>, &Option<FloatTensor<B>>)| {
            let shape = a.as_ref().or(b.as_ref())?.shape();
            let [a, b] = [a, b].map(|entry| entry.clone().map(flat::<B>));
            Some(shaped(combine(a, b)?, shape))
        };
        Self(self.0.iter().zip(&other.0).map(combine).collect())
    }

    /// # Panics
    /// If the vectors differ in length, or two of their tensors in shape.
    pub(crate) fn check_shapes(&self, other: &Self) {
        assert_eq!(
            self.len(),
            other.len(),
            "vectors of {} and {} entries",
            self.len(),
            other.len()
        );
        for (index, (a, b)) in self.0.iter().zip(&other.0).enumerate() {
            if let (Some(a), Some(b)) = (a, b) {
                let (a, b) = (a.shape(), b.shape());
                assert_eq!(a, b, "entry {index} of two vectors");
            }
        }
    }
}

/// The one element of a tensor as f64. `Tensor::into_scalar` would round it to the backend's
/// default element type.
pub(crate) fn number<B: Backend>(tensor: Tensor<B, 1>) -> f64 {
    tensor.into_data().iter().next().expect("a tensor of one element")
}

/// # Panics
/// If the tensor is not of rank `D`.
pub(crate) fn ranked<B: Backend, const D: usize>(
    index: usize,
    entry: FloatTensor<B>,
) -> Tensor<B, D> {
    let rank = entry.rank();
    assert_eq!(rank, D, "entry {index} is of rank {rank} and is asked for as one of rank {D}");
    tensor(entry)
}

fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn flat<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 1> {
    let elements = primitive.shape().num_elements();
    tensor(B::float_reshape(primitive, Shape::new([elements])))
}

fn shaped<B: Backend>(flat: Tensor<B, 1>, shape: Shape) -> FloatTensor<B> {
    B::float_reshape(flat.into_primitive().tensor(), shape)
}
