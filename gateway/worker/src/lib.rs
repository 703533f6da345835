//! The parts of one machine: an operator per op kind over store, sources and executor.
