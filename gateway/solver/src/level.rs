//! How much is known of an edge, or asked of it.

/// How much is known of an edge, or asked of it. Each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    Nothing,
    /// The records that stand for it by definition: nothing has to run or be loaded for that.
    Definition,
    /// The records that stand for it by the contents of its inputs as well.
    Content,
    /// Its result.
    Result,
}

impl Level {
    /// All levels at which something is asked, deepest first.
    pub(crate) const ASKED: [Self; 3] = [Self::Result, Self::Content, Self::Definition];
}
