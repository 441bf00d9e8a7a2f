//! OpenCLIP's query, key and value projections, which are stored in one tensor.

/// The parts of a stored tensor: the key of each, and which third of the tensor it is, or `None` for
/// all of it. `…in_proj_weight` and `…in_proj_bias` are the thirds for query, key and value, along
/// the first dimension; every other tensor is one part.
pub fn parts(key: &str) -> Vec<(String, Option<usize>)> {
    match key.rsplit_once("in_proj_") {
        Some((block, kind @ ("weight" | "bias"))) => ["q", "k", "v"]
            .into_iter()
            .enumerate()
            .map(|(number, name)| (format!("{block}{name}_proj.{kind}"), Some(number)))
            .collect(),
        _ => vec![(key.to_string(), None)],
    }
}
