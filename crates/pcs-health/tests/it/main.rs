//! The checker over a scripted probe on a paused clock, and the production probe over real sockets.

mod checks;
mod lifetime;
mod mass;
mod probe;
mod world;
