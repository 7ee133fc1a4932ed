//! The padding that puts each member where BTF says it is: by a compiler's own rules where they lead there, else packed.

use std::cell::RefCell;
use std::collections::HashMap;

use xdplb_linker::btf::{Btf, Composite, Kind, TypeId};

use super::{Language, MAX_DEPTH};

/// How a struct or union is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether it takes `packed`.
    pub(super) packed: bool,
    /// In bytes.
    pub(super) align: u64,
    /// What is written, in order.
    pub(super) items: Vec<Item>,
}

/// One piece of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// This member.
    Member(usize),
    /// Bitfields that Rust has no word for: members from the first on, so many, as so many bytes.
    Bits {
        first: usize,
        count: usize,
        bytes: u64,
    },
    /// Bytes that belong to no member.
    Pad(u64),
    /// Bits that belong to no member.
    PadBits(u64),
    /// A member that lies over another, which a struct cannot say.
    Overlap(usize),
}

/// All layouts of an object.
pub(super) struct Layouts<'a> {
    btf: &'a Btf,
    language: Language,
    aligns: RefCell<HashMap<TypeId, u64>>,
}

/// A member, or a run of bitfields, as far as its place goes; in bits.
struct Piece {
    item: Item,
    at: u64,
    bits: u64,
    align: u64,
    /// For a bitfield: the bits of its type.
    unit: Option<u64>,
}

impl<'a> Layouts<'a> {
    pub(super) fn new(btf: &'a Btf, language: Language) -> Self {
        Layouts {
            btf,
            language,
            aligns: RefCell::new(HashMap::new()),
        }
    }

    /// The layout of a struct.
    pub(super) fn of_struct(&self, composite: &Composite) -> Layout {
        self.of_struct_at(composite, 0)
    }

    fn of_struct_at(&self, composite: &Composite, depth: usize) -> Layout {
        let pieces = self.pieces(composite, depth);
        natural(&pieces, composite.size.into())
            .unwrap_or_else(|| packed(&pieces, composite.size.into()))
    }

    /// The layout of a union: every member at its beginning.
    pub(super) fn of_union(&self, composite: &Composite) -> Layout {
        self.of_union_at(composite, 0)
    }

    fn of_union_at(&self, composite: &Composite, depth: usize) -> Layout {
        let size = u64::from(composite.size);
        let members = || composite.members.iter();
        let align = members()
            .map(|member| self.align(member.ty, depth + 1))
            .max()
            .unwrap_or(1);
        let packed = !size.is_multiple_of(align);
        let mut items: Vec<Item> = (0..composite.members.len())
            .map(|index| match composite.members[index].bitfield_size {
                0 => Item::Member(index),
                bits if self.language == Language::Rust => Item::Bits {
                    first: index,
                    count: 1,
                    bytes: u64::from(bits).div_ceil(8),
                },
                _ => Item::Member(index),
            })
            .collect();
        let largest = members()
            .map(|member| match member.bitfield_size {
                0 => self.btf.size_of(member.ty).unwrap_or(0),
                bits => u64::from(bits).div_ceil(8),
            })
            .max()
            .unwrap_or(0);
        let align = if packed { 1 } else { align };
        if largest.next_multiple_of(align) < size {
            items.push(Item::Pad(size));
        }
        Layout {
            packed,
            align,
            items,
        }
    }

    /// Members by place. In Rust a run of bitfields is one piece.
    fn pieces(&self, composite: &Composite, depth: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, member) in composite.members.iter().enumerate() {
            let at = u64::from(member.bit_offset);
            let size = self.btf.size_of(member.ty).unwrap_or(0);
            let width = u64::from(member.bitfield_size);
            if width == 0 {
                pieces.push(Piece {
                    item: Item::Member(index),
                    at,
                    bits: size.saturating_mul(8),
                    align: self.align(member.ty, depth + 1),
                    unit: None,
                });
                continue;
            }
            if self.language == Language::C {
                pieces.push(Piece {
                    item: Item::Member(index),
                    at,
                    bits: width,
                    align: self.align(member.ty, depth + 1),
                    unit: Some(size.saturating_mul(8)),
                });
                continue;
            }
            let end = (at + width).next_multiple_of(8);
            match pieces.last_mut() {
                Some(Piece {
                    item: Item::Bits { count, bytes, .. },
                    at: start,
                    bits,
                    ..
                }) if at >= *start => {
                    *count += 1;
                    *bits = (*bits).max(end - *start);
                    *bytes = *bits / 8;
                }
                _ => pieces.push(Piece {
                    item: Item::Bits {
                        first: index,
                        count: 1,
                        bytes: (end - at / 8 * 8) / 8,
                    },
                    at: at / 8 * 8,
                    bits: end - at / 8 * 8,
                    align: 1,
                    unit: None,
                }),
            }
        }
        pieces
    }

    /// The alignment of a type as it is written here.
    fn align(&self, id: TypeId, depth: usize) -> u64 {
        if depth > MAX_DEPTH {
            return 1;
        }
        let Some((id, ty)) = self.btf.resolve(id) else {
            return 1;
        };
        if let Some(known) = self.aligns.borrow().get(&id) {
            return *known;
        }
        let power = |size: u32| match u64::from(size) {
            size @ (1 | 2 | 4 | 8 | 16) => size,
            _ => 1,
        };
        let align = match &ty.kind {
            Kind::Int(int) => power(int.size),
            Kind::Float { size } => match self.language {
                Language::Rust if !matches!(size, 4 | 8) => 1,
                Language::C | Language::Rust => power(*size),
            },
            Kind::Enum(e) => power(e.size),
            Kind::Enum64(e) => power(e.size),
            Kind::Ptr(_) => 8,
            Kind::Array(array) => self.align(array.element, depth + 1),
            Kind::Struct(composite) => self.of_struct_at(composite, depth).align,
            Kind::Union(composite) => self.of_union_at(composite, depth).align,
            _ => 1,
        };
        self.aligns.borrow_mut().insert(id, align);
        align
    }
}

/// As a compiler lays it out, with bytes put in where it leaves none itself; `None` where that does not lead there.
fn natural(pieces: &[Piece], size: u64) -> Option<Layout> {
    let mut items = Vec::with_capacity(pieces.len());
    let mut here: u64 = 0;
    let mut align = 1;
    for piece in pieces {
        align = align.max(piece.align);
        if let Some(unit) = piece.unit {
            if unit == 0 {
                return None;
            }
            // A bitfield does not cross a boundary of its type.
            if here % unit + piece.bits > unit {
                here = here.next_multiple_of(unit);
            }
            if here != piece.at {
                return None;
            }
        } else {
            let bytes = here.next_multiple_of(8);
            let aligned = bytes.next_multiple_of(piece.align * 8);
            if aligned != piece.at {
                let fits = piece.at > bytes && piece.at.is_multiple_of(piece.align * 8);
                if !fits {
                    return None;
                }
                items.push(Item::Pad((piece.at - bytes) / 8));
            }
            here = piece.at;
        }
        items.push(piece.item);
        here = here.checked_add(piece.bits)?;
    }
    let end = here.div_ceil(8);
    let total = end.next_multiple_of(align);
    if total != size {
        if size < end || !size.is_multiple_of(align) {
            return None;
        }
        items.push(Item::Pad(size - end));
    }
    Some(Layout {
        packed: false,
        align,
        items,
    })
}

/// Everything where it is, byte by byte.
fn packed(pieces: &[Piece], size: u64) -> Layout {
    let mut items = Vec::with_capacity(pieces.len());
    let mut here: u64 = 0;
    for piece in pieces {
        if piece.unit.is_none() {
            here = here.next_multiple_of(8);
        }
        if piece.at < here || piece.unit.is_none() && !piece.at.is_multiple_of(8) {
            items.push(match piece.item {
                Item::Member(index) | Item::Bits { first: index, .. } => Item::Overlap(index),
                other => other,
            });
            continue;
        }
        let gap = piece.at - here;
        let to_byte = (here.next_multiple_of(8) - here).min(gap);
        if to_byte > 0 {
            items.push(Item::PadBits(to_byte));
        }
        let rest = gap - to_byte;
        if rest >= 8 {
            items.push(Item::Pad(rest / 8));
        }
        if !rest.is_multiple_of(8) {
            items.push(Item::PadBits(rest % 8));
        }
        items.push(piece.item);
        here = piece.at.saturating_add(piece.bits);
    }
    let end = here.div_ceil(8);
    if size > end {
        items.push(Item::Pad(size - end));
    }
    Layout {
        packed: true,
        align: 1,
        items,
    }
}
