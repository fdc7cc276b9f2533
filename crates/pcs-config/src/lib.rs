//! Configuration of PCS: raw YAML and environment in, a proven configuration or all errors out.
