//! `seqlora bank`: what is done with the concepts of a bank.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, ClapArgs)]
pub struct Bank {
    #[command(subcommand)]
    pub command: BankCommand,
}

#[derive(Debug, Subcommand)]
pub enum BankCommand {
    /// List the concepts of a bank, and removed ones whose directions are still reserved
    List(BankFolder),
    /// Check digests, ranks, the cache and the orthogonality of all pairs of concepts
    Verify(BankFolder),
    /// Remove a concept; nothing else in the bank changes
    Remove(RemoveConcept),
    /// Make one bank of those that workers learnt in different subspaces (`learn --subspace`)
    Merge(MergeBanks),
}

#[derive(Debug, ClapArgs)]
pub struct BankFolder {
    /// The bank
    pub bank: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct RemoveConcept {
    /// The bank
    pub bank: PathBuf,
    /// The concept
    pub id: String,
    /// Let later concepts use its directions. Without this they stay orthogonal to it, so that what
    /// was exported of it can still be combined with them
    #[arg(long)]
    pub free_directions: bool,
}

#[derive(Debug, ClapArgs)]
pub struct MergeBanks {
    /// The banks, in any order
    #[arg(required = true, value_name = "BANK")]
    pub banks: Vec<PathBuf>,
    /// The merged bank; must not be there
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}
