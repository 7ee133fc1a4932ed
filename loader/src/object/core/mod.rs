//! CO-RE ("compile once, run everywhere"): an object names fields, types and enum values of a kernel by the types it was
//! compiled with; here each is looked up in the types of the kernel that runs, and the instruction rewritten.
//!
//! ```text
//!   kind        the question a relocation asks
//!   access      its path through the object's types              0:1:2 → struct sk_buff.foo.bar
//!   candidates  the kernel's types of that name                  sk_buff, sk_buff___2, …
//!   matching    the same path through each of them, by names     (compatible: may these types be taken for each other?)
//!   answer      the number that the question asks for, on both sides
//!   patch       old number checked, new number written; or the instruction poisoned
//!   explain     from the verifier's complaint about a poisoned instruction to the relocation
//! ```
//!
//! PURE, like all of `object`: the kernel's types arrive as a value. The rules are libbpf's (`relo_core.c`), so that an
//! object means the same with both; what libbpf says with an error number is a sentence here.

mod access;
mod answer;
mod candidates;
mod compatible;
mod explain;
mod kind;
mod matching;
mod patch;
mod relocations;
#[cfg(test)]
mod tests;
mod view;

pub use candidates::Kernel;
pub use compatible::types_compatible;
pub use explain::explain;
pub use patch::POISON;
pub(crate) use relocations::question;
pub use relocations::{Applied, Relocations};
pub use view::{Count, Shape, Ty, TypeKind, Types, essential};
