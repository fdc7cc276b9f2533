//! The checker over a scripted probe, on a paused clock.

mod checks;
mod lifetime;
mod mass;
mod world;
