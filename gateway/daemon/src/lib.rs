//! kilnd: configuration, the Control service, and the wiring of all other rooms.
