//! Exports of real refs to doubles of a client, to real registries and past real readers.
