//! What is said of an adapter that is not what its own file says.

use burn_seqlora::bank::formats::ForeignAdapter;

use crate::terminal::Terminal;

/// Warns of modules that are listed and missing, and of tensors that were changed.
pub fn warn(adapter: &ForeignAdapter, terminal: &Terminal) {
    let path = adapter.path.display();
    match &adapter.missing[..] {
        [] => {}
        [only] => terminal.warning(format!("{path} lists `{only}` and has no factors for it")),
        [first, ..] => terminal.warning(format!(
            "{path} lists {} modules that it has no factors for, e.g. `{first}`",
            adapter.missing.len()
        )),
    }
    if adapter.is_changed {
        terminal.warning(format!(
            "{path} was changed after it was written: its tensors are not those of its `sshs_model_hash`"
        ));
    }
}
