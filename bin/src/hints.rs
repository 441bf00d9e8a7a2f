//! Which options of the command line help with an error that a library reports.
//!
//! Libraries say what is wrong in terms of settings; only the program knows its options.

use std::error::Error;

use burn_seqlora::data::DataError;
use burn_seqlora::error::Error as CoreError;
use burn_seqlora::eval::store::StoreError;
use burn_seqlora::models::weights::ModelError;

/// What to tell about the options that help with an error; `None` if there are none.
pub fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(CoreError::Data(inner)) = error.downcast_ref() {
        return hint(inner.as_ref());
    }
    let core = error.downcast_ref().and_then(of_core);
    let data = || error.downcast_ref().and_then(of_data).map(String::from);
    let store = || error.downcast_ref().and_then(of_store).map(String::from);
    let model = || error.downcast_ref().and_then(of_model).map(String::from);
    core.or_else(data).or_else(model).or_else(store)
}

/// Whether an error says that an option does not fit: wrong usage, whoever finds it.
pub fn concerns_an_option(error: &(dyn Error + 'static)) -> bool {
    if let Some(CoreError::Data(inner)) = error.downcast_ref() {
        return concerns_an_option(inner.as_ref());
    }
    let run = error.downcast_ref();
    matches!(error.downcast_ref(), Some(DataError::Option { .. }))
        || matches!(run, Some(StoreError::Other { .. } | StoreError::Foreign { .. }))
}

fn of_core(error: &CoreError) -> Option<String> {
    let text = match error {
        CoreError::OtherMethod { bank, .. } => {
            return Some(format!("--method {bank} fits this bank, and --bank chooses another one"));
        }
        CoreError::NoBank { .. } => "`learn` makes a bank, and --bank chooses one",
        CoreError::DamagedConcept { .. } => {
            "--concept chooses the concepts of an image, and `inspect` lists what is damaged"
        }
        CoreError::DamagedEarlier { id, bank, .. } => {
            let bank = bank.display();
            return Some(format!(
                "`seqlora bank remove {bank} {id} --free-directions` goes on without it"
            ));
        }
        CoreError::UnreadableDirections { .. } => "--free-directions gives them up",
        CoreError::NotABank { .. } => "--bank chooses the folder",
        CoreError::OtherBase { .. } => "--model chooses the model, and --bank the bank",
        CoreError::DuplicateConcept { .. } => {
            "--id sets the id of a single concept, and --resume continues an earlier run"
        }
        CoreError::Interrupted { .. } => "--resume continues the run",
        CoreError::Unfinished { id, .. } => {
            return Some(format!("`learn` with the data of `{id}` and --resume finishes it"));
        }
        CoreError::TooLittleMemory { .. } => {
            "--memory, --micro-batch, --batch, --resolution and --precision set these, and --force starts anyway"
        }
        CoreError::NoCapacity { .. } => {
            "--rank, --concepts and --sites set these; without --strict-capacity, layers with too \
             little room get a lower rank"
        }
        CoreError::UnknownConcept { known, .. } if known.is_empty() => "--bank gives the bank",
        CoreError::NotFinite { .. } => "--lr-unet, --lr-text and --lr-token change the rates",
        _ => return None,
    };
    Some(text.into())
}

fn of_data(error: &DataError) -> Option<&'static str> {
    match error {
        DataError::InvalidId { .. } => Some("--id sets the id of a single concept"),
        DataError::ClassWord { .. } => Some("--class sets the class word of a single concept"),
        DataError::MissingFolders { .. } => Some("--images-root sets `images_root`"),
        DataError::Option { name: "class", .. } => Some("--class sets `class`"),
        DataError::Option { name: "id", .. } => Some("--id sets `id`"),
        DataError::Option { name: "images_root", .. } => Some("--images-root sets `images_root`"),
        DataError::Option { name: "resolution", .. } => Some("--resolution sets `resolution`"),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Other { .. } => {
            Some("the same data and options go on with it, and --out chooses another folder")
        }
        StoreError::Foreign { .. } => Some("--out chooses the folder"),
        _ => None,
    }
}

fn of_model(error: &ModelError) -> Option<&'static str> {
    match error {
        ModelError::NoTokenizer { .. } | ModelError::Vocabulary { .. } => {
            Some("--tokenizer gives the folder of a tokenizer")
        }
        ModelError::UnknownPrediction { .. } => Some("add --prediction v or --prediction epsilon"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_data_is_found_inside_one_of_training() {
        let error = DataError::Option { name: "id", reason: "it is taken".into() };
        assert_eq!(hint(&error).as_deref(), Some("--id sets `id`"));
        assert!(
            concerns_an_option(&error) && !concerns_an_option(&CoreError::Invalid("no".into()))
        );
        assert_eq!(hint(&CoreError::from(error)).as_deref(), Some("--id sets `id`"));
        assert_eq!(hint(&CoreError::Invalid("no".into())), None);
    }
}
