//! What becomes one adapter.

use std::path::PathBuf;

use burn_seqlora::bank::Bank;
use burn_seqlora::bank::formats::{AdapterCard, AdapterFormat, TrainingCard};
use burn_seqlora::compose::Member;

use crate::args::Export;

/// One adapter that is written: a concept, or the sum of several.
pub struct Pack {
    pub name: String,
    pub members: Vec<Member>,
}

impl Pack {
    /// A folder of its own, unless the format's files are named after their adapters.
    pub fn folder(&self, args: &Export, format: &dyn AdapterFormat) -> PathBuf {
        let folder = args.out.join(format.name());
        let is_named_alike = format.file_name("a") == format.file_name("b");
        if is_named_alike { folder.join(&self.name) } else { folder }
    }

    pub fn card(&self, bank: &Bank) -> AdapterCard {
        let ids: Vec<&str> = self.members.iter().map(|member| member.id.as_str()).collect();
        let base = bank.base();
        AdapterCard {
            name: self.name.clone(),
            trigger: ids.join(", "),
            base: base.name.clone(),
            token_width: base.token_width,
            prediction: base.prediction,
            training: self.training(bank),
        }
    }

    /// Several concepts were not trained in one run. A record that cannot be read keeps nobody from an
    /// adapter that can.
    fn training(&self, bank: &Bank) -> Option<TrainingCard> {
        let [only] = &self.members[..] else { return None };
        let (_, training) = bank.concept(&only.id).ok()?;
        TrainingCard::of(&training)
    }
}
