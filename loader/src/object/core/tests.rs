//! Every kind of relocation and every error text, on types small enough to read here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod errors;
mod make;
