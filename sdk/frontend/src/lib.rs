//! What a frontend is and all it may ask for; options, contexts and serving over standard streams.
