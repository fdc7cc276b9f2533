//! Members, snapshots, selection, retry, sticky sessions, routes.
