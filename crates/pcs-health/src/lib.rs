//! Breaker, health flips, moving averages, active checks.
