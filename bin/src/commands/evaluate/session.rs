//! What the stages of an evaluation share.

use burn_seqlora::eval::protocol::{ImageGroup, Protocol, ScoreSet};
use burn_seqlora::eval::store::{RunFolder, RunRecord};
use burn_seqlora::{FoundModel, Shard};

use super::data::Data;
use super::memory::Needs;
use super::methods::Method;
use super::settings::Settings;
use crate::args::Evaluate;
use crate::terminal::Terminal;

/// What all stages share.
pub struct Session<'a> {
    pub args: &'a Evaluate,
    pub settings: &'a Settings,
    pub data: &'a Data,
    /// The base model, if any image is made.
    pub found: Option<FoundModel>,
    /// The memory that the machine has to have if an image is made.
    pub unchecked: Option<Needs>,
    pub methods: Vec<Method>,
    pub record: RunRecord,
    pub run: RunFolder,
    pub groups: Vec<ImageGroup>,
    pub sets: Vec<ScoreSet>,
    pub terminal: &'a Terminal,
}

impl Session<'_> {
    /// What is evaluated.
    pub fn protocol(&self) -> &Protocol {
        &self.record.protocol
    }

    /// The part that is done here.
    pub fn shard(&self) -> Shard {
        self.args.shard.unwrap_or(Shard::ALL)
    }
}
