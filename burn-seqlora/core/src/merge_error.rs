//! The errors of `bank/merge.rs`, apart from the crate's own, which contains them.

use std::path::PathBuf;

/// Why banks cannot be merged. Nothing has been written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("merging takes two banks or more")]
    TooFew,
    /// The folder of the merged bank is there.
    #[error("{} is there already; choose another folder", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A bank is not what it says.
    #[error("{} is damaged: {problem}; `verify` says what helps", path.display())]
    Damaged {
        /// The bank.
        path: PathBuf,
        /// What is wrong first.
        problem: String,
    },
    /// The banks adapt models of other layers.
    #[error("{} and {} adapt other layers", first.display(), second.display())]
    OtherSites {
        /// A bank.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// Removed concepts reserve directions.
    #[error(
        "{} reserves directions for `{id}`, which was removed; free them first, or learn the concept again",
        path.display()
    )]
    Reserved {
        /// The bank.
        path: PathBuf,
        /// The removed concept.
        id: String,
    },
    /// A concept was learnt in the whole space.
    #[error(
        "`{id}` of {} was not learnt in a subspace, so that nothing keeps it apart from what other workers \
         learnt; learn it again in one",
        path.display()
    )]
    NoSubspace {
        /// The concept.
        id: String,
        /// Its bank.
        path: PathBuf,
    },
    /// Concepts were learnt in blocks of different bases.
    #[error(
        "`{first}` was learnt in a block of {} of family {}, and `{second}` in one of {} of family {}; \
         blocks of different families overlap",
        families[0].0, families[0].1, families[1].0, families[1].1
    )]
    OtherFamily {
        /// A concept.
        first: String,
        /// Another one.
        second: String,
        /// The number of blocks and the family of each.
        families: [(usize, u64); 2],
    },
    /// Two banks used the same block.
    #[error(
        "`{first}` and `{second}` of different banks were both learnt in the subspace {subspace}, where \
         nothing keeps them apart; learn one of them again in another one"
    )]
    SameBlock {
        /// A concept.
        first: String,
        /// One of another bank.
        second: String,
        /// The block.
        subspace: String,
    },
    /// Two banks have a concept of the same id.
    #[error("{} and {} both hold a concept `{id}`", first.display(), second.display())]
    SameId {
        /// The id.
        id: String,
        /// A bank.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// Concepts are not as far apart as their blocks should make them.
    #[error(
        "`{first}` and `{second}` overlap by {overlap:.1e} at {site}, though their subspaces differ: one of \
         them was not learnt where its record says"
    )]
    Overlap {
        /// A concept.
        first: String,
        /// Another one.
        second: String,
        /// The site.
        site: String,
        /// The largest |entry| of B_jᵀ B_i with unit columns.
        overlap: f64,
    },
}
