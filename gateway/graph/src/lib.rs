//! Definition to Graph: vertices that are known to fit together.
