//! CO-RE ("compile once, run everywhere"): an object names fields, types and enum values of a kernel by the types it was
//! compiled with; here each is looked up in the types of the kernel that runs, and the instruction rewritten.
//!
//! PURE, like all of `object`: the kernel's types arrive as a value.

mod view;

pub use view::{Count, Shape, Ty, TypeKind, Types, essential};
