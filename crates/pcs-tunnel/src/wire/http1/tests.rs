//! Tables and properties of the HTTP/1 reader.
