//! What every strategy keeps, and what each promises.

mod fairness;
mod laws;
mod pool;
mod rendezvous;
mod semantics;
