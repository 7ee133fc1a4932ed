//! Objects built for tests.
