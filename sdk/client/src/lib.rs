//! A client of any daemon that speaks BuildKit's Control API, with its session and attachables.
