//! A row of the comparison: work with a name that both sides know.

/// Work that can be run again and again.
pub type Work<'a> = Box<dyn FnMut() + 'a>;

/// A row: its name in the peer's table, and how to prepare it.
pub struct Row<'a> {
    /// The name in the peer's table.
    pub name: String,
    /// Builds the inputs.
    pub prepare: Box<dyn Fn() -> Work<'a> + 'a>,
}

impl<'a> Row<'a> {
    /// A row from its name and what builds its inputs.
    pub fn new<W: FnMut() + 'a>(name: impl Into<String>, prepare: impl Fn() -> W + 'a) -> Self {
        Self { name: name.into(), prepare: Box::new(move || Box::new(prepare())) }
    }
}
