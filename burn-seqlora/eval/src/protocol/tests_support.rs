//! A protocol and a method for the tests of this crate.

pub use super::images::tests::method;
pub use super::resolved::tests::protocol;
