//! `--set NAME=VALUE`: text to the bytes of a variable, as its type in BTF has it.
//!
//! `NAME` may go into a variable: `config.limit`, `ports[2]`. Without types the variable's size decides: a number of that
//! size, or as many bytes in hex.

use xdplb_linker::btf::{Btf, Int, Kind, Signedness, TypeId};

use super::type_names::{list, members, title};
use super::{ObjectError, Spec};

/// How deep a type is followed: members of members.
const MAX_DEPTH: usize = 32;
/// `BTF_INT_SIGNED`, `BTF_INT_CHAR`, `BTF_INT_BOOL`.
const SIGNED: u8 = 1;
const CHAR: u8 = 2;
const BOOL: u8 = 4;

impl Spec {
    /// Sets a variable from text, as `--set NAME=VALUE` does: integers (decimal, `0x…`, `0b…`), `true` and `false`,
    /// values of an enum by name, a character or string for `char`s, `1,2,3` or `hex:…` for arrays. What does not fit the
    /// variable's type is refused, with what would.
    pub fn set_value(&mut self, name: &str, text: &str) -> Result<(), ObjectError> {
        let root = name.split(['.', '[']).next().unwrap_or_default();
        // Rust's names may hold these characters themselves.
        let root = if self.global_names().any(|known| known == name) {
            name
        } else {
            root
        };
        let mut bytes = self.global(root)?;
        let path = &name[root.len()..];
        let ty = self.global_type(root);
        let refuse = |cause: String| ObjectError::request(format!("`{name}` {cause}"));
        match (self.btf(), ty) {
            (Some(btf), Some(ty)) => {
                let place = descend(btf, ty, path, root).map_err(ObjectError::request)?;
                let value = encode(btf, place.ty, text).map_err(refuse)?;
                let end = place.offset.saturating_add(value.len());
                match bytes.get_mut(place.offset..end) {
                    Some(slot) => slot.copy_from_slice(&value),
                    None => return Err(refuse("lies outside of its variable".into())),
                }
            }
            _ if !path.is_empty() => {
                let cause = format!(
                    "names a part of `{root}`, and the object has no types that say where it is"
                );
                return Err(refuse(cause));
            }
            _ => bytes = untyped(text, bytes.len()).map_err(refuse)?,
        }
        self.set_global(root, &bytes)
    }
}

/// A part of a variable.
struct Part {
    ty: TypeId,
    offset: usize,
}

/// Follows `.member` and `[index]`.
fn descend(btf: &Btf, ty: TypeId, path: &str, root: &str) -> Result<Part, String> {
    let mut part = Part { ty, offset: 0 };
    let mut rest = path;
    let mut walked = root.to_string();
    for _ in 0..MAX_DEPTH {
        if rest.is_empty() {
            return Ok(part);
        }
        let resolved = btf.resolve(part.ty).map(|(_, ty)| &ty.kind);
        let title = title(btf, part.ty);
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after
                .split_once(']')
                .ok_or_else(|| format!("`{root}{path}`: no `]` closes the index"))?;
            let Some(Kind::Array(array)) = resolved else {
                return Err(format!("`{walked}` is {title}, which has no elements"));
            };
            let number: u32 = index
                .parse()
                .map_err(|_| format!("`{root}{path}`: `{index}` is no index"))?;
            if number >= array.count {
                return Err(format!("`{walked}` is {title}: it has no element {number}"));
            }
            let size = btf.size_of(array.element).unwrap_or(0);
            let offset = size.saturating_mul(number.into());
            part = Part {
                ty: array.element,
                offset: part.offset.saturating_add(offset as usize),
            };
            walked = format!("{walked}[{number}]");
            rest = after;
            continue;
        }
        let after = rest.strip_prefix('.').unwrap_or(rest);
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let Some(Kind::Struct(composite) | Kind::Union(composite)) = resolved else {
            return Err(format!("`{walked}` is {title}, which has no members"));
        };
        let member = composite.members.iter().find(|m| btf.name(m.name) == name);
        let Some(member) = member else {
            return Err(format!(
                "`{walked}` is {title}: it has no member `{name}`, but {}",
                members(btf, composite)
            ));
        };
        if member.bitfield_size != 0 {
            return Err(format!(
                "`{walked}.{name}` is a bit field, which cannot be set alone"
            ));
        }
        part = Part {
            ty: member.ty,
            offset: part.offset.saturating_add(member.bit_offset as usize / 8),
        };
        walked = format!("{walked}.{name}");
        rest = after;
    }
    Err(format!("`{root}{path}` goes too deep"))
}

/// The bytes of a value; the error goes on from the variable's name.
fn encode(btf: &Btf, mut ty: TypeId, text: &str) -> Result<Vec<u8>, String> {
    let title = title(btf, ty);
    for _ in 0..MAX_DEPTH {
        let Some((_, resolved)) = btf.resolve(ty) else {
            return Err("has no type that a value can be of".into());
        };
        return match &resolved.kind {
            Kind::Int(int) if int.encoding & BOOL != 0 => match text {
                "true" | "1" => Ok(widened(1, int.size)),
                "false" | "0" => Ok(widened(0, int.size)),
                _ => Err(format!("is {title}: `{text}` is neither true nor false")),
            },
            Kind::Int(int) => integer(*int, &title, text),
            Kind::Enum(e) => {
                let values = e.values.iter().map(|v| {
                    let value = match e.signedness {
                        Signedness::Signed => i128::from(v.value),
                        Signedness::Unsigned => i128::from(v.value as u32),
                    };
                    (btf.name(v.name), value)
                });
                enumeration(values.collect(), e.size, e.signedness, &title, text)
            }
            Kind::Enum64(e) => {
                let values = e.values.iter().map(|v| {
                    let value = match e.signedness {
                        Signedness::Signed => i128::from(v.value as i64),
                        Signedness::Unsigned => i128::from(v.value),
                    };
                    (btf.name(v.name), value)
                });
                enumeration(values.collect(), e.size, e.signedness, &title, text)
            }
            Kind::Array(array) => array_value(btf, array.element, array.count, &title, text),
            Kind::Struct(composite) | Kind::Union(composite) => {
                // A struct that only wraps another type, as Rust's newtypes do, takes what that takes.
                if let [only] = &composite.members[..]
                    && only.bit_offset == 0
                    && btf.size_of(only.ty) == Some(composite.size.into())
                {
                    ty = only.ty;
                    continue;
                }
                if let Some(bytes) = hex(text) {
                    return exactly(bytes?, u64::from(composite.size), &title);
                }
                Err(format!("is {title}: set its members, {}", members(btf, composite)))
            }
            Kind::Float { .. } | Kind::Ptr(_) | Kind::Fwd(_) | Kind::Func(_)
            | Kind::FuncProto(_) | Kind::Var(_) | Kind::Datasec(_) | Kind::DeclTag(_)
            // Resolving never ends at these.
            | Kind::Typedef(_) | Kind::Volatile(_) | Kind::Const(_) | Kind::Restrict(_)
            | Kind::TypeTag(_) => Err(format!("is {title}, which cannot be set")),
        };
    }
    Err("has a type without end".into())
}

fn integer(int: Int, title: &str, text: &str) -> Result<Vec<u8>, String> {
    let byte = int.size == 1;
    let mut letters = text
        .strip_prefix('\'')
        .and_then(|t| t.strip_suffix('\''))
        .unwrap_or_default()
        .chars();
    if let (true, Some(letter), None) = (byte, letters.next(), letters.next())
        && letter.is_ascii()
    {
        return Ok(vec![letter as u8]);
    }
    let value = number(text).ok_or_else(|| format!("is {title}: `{text}` is no number"))?;
    // A plain C `char` may be either; so is a byte that is written as one.
    let either = byte && int.encoding & CHAR != 0;
    let signed = int.encoding & SIGNED != 0;
    fitted(value, int.size, signed, either, title, text)
}

fn fitted(
    value: i128,
    size: u32,
    signed: bool,
    either: bool,
    title: &str,
    text: &str,
) -> Result<Vec<u8>, String> {
    let bits = (size * 8).clamp(8, 64);
    let (low, high) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
    let (low, high) = match (signed, either) {
        (_, true) => (low, (1i128 << bits) - 1),
        (true, false) => (low, high),
        (false, false) => (0, (1i128 << bits) - 1),
    };
    if !(low..=high).contains(&value) {
        return Err(format!(
            "is {title}: {text} does not fit, {low} to {high} do"
        ));
    }
    Ok(widened(value, size))
}

/// Little-endian; types of 16 bytes are extended by the sign.
fn widened(value: i128, size: u32) -> Vec<u8> {
    value.to_le_bytes()[..(size as usize).min(16)].to_vec()
}

fn enumeration(
    values: Vec<(&str, i128)>,
    size: u32,
    signedness: Signedness,
    title: &str,
    text: &str,
) -> Result<Vec<u8>, String> {
    if let Some((_, value)) = values.iter().find(|(name, _)| *name == text) {
        return Ok(widened(*value, size));
    }
    let Some(value) = number(text) else {
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "is {title}: `{text}` is none of its values, {}",
            list(&names)
        ));
    };
    fitted(
        value,
        size,
        signedness == Signedness::Signed,
        false,
        title,
        text,
    )
}

fn array_value(
    btf: &Btf,
    element: TypeId,
    count: u32,
    title: &str,
    text: &str,
) -> Result<Vec<u8>, String> {
    let size = btf.size_of(element).unwrap_or(0);
    let total = size.saturating_mul(count.into());
    if let Some(bytes) = hex(text) {
        return exactly(bytes?, total, title);
    }
    let listed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let character = matches!(btf.resolve(element), Some((_, ty)) if matches!(&ty.kind, Kind::Int(int) if int.size == 1));
    if character
        && listed.is_none()
        && !(text.contains(',') && text.split(',').all(|part| number(part.trim()).is_some()))
    {
        let quoted = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        let string = quoted.unwrap_or(text).as_bytes();
        // C's strings end with a zero.
        if string.len() as u64 >= total {
            return Err(format!(
                "is {title}: `{text}` takes {} bytes with the zero that ends it",
                string.len() + 1
            ));
        }
        let mut bytes = string.to_vec();
        // Bounded: the variable's bytes are in the object.
        bytes.resize(total as usize, 0);
        return Ok(bytes);
    }
    let parts: Vec<&str> = listed.unwrap_or(text).split(',').map(str::trim).collect();
    if parts.len() as u64 != u64::from(count) {
        return Err(format!("is {title}: {} elements were given", parts.len()));
    }
    let mut bytes = Vec::new();
    for part in parts {
        match btf.resolve(element).map(|(_, ty)| &ty.kind) {
            Some(Kind::Array(_)) | None => {
                return Err(format!(
                    "is {title}: set its elements one by one, or `hex:…`"
                ));
            }
            Some(_) => bytes.extend(encode(btf, element, part)?),
        }
    }
    Ok(bytes)
}

/// `hex:0a0b0c`, as the bytes lie; the spaces, colons and dashes between them do not count.
fn hex(text: &str) -> Option<Result<Vec<u8>, String>> {
    let digits: Vec<u8> = text
        .strip_prefix("hex:")?
        .bytes()
        .filter(|byte| !b" :-".contains(byte))
        .collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16)
            .ok()
            .filter(|_| pair.len() == 2)
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    Some(bytes.ok_or_else(|| format!("takes pairs of hex digits, not `{text}`")))
}

fn exactly(bytes: Vec<u8>, size: u64, title: &str) -> Result<Vec<u8>, String> {
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    Err(format!(
        "is {title} of {size} bytes: {} were given",
        bytes.len()
    ))
}

/// A variable of which only the size is known.
fn untyped(text: &str, size: usize) -> Result<Vec<u8>, String> {
    let title = format!("a variable of {size} bytes without a type");
    if let Some(bytes) = hex(text) {
        return exactly(bytes?, size as u64, &title);
    }
    let number_size = u32::try_from(size)
        .ok()
        .filter(|size| [1, 2, 4, 8].contains(size));
    match (number(text), number_size) {
        (Some(value), Some(size)) => fitted(value, size, value < 0, false, &title, text),
        (None, Some(_)) => Err(format!("is {title}: `{text}` is no number")),
        (_, None) => Err(format!("is {title}: only `hex:…` can set it")),
    }
}

/// A whole number in any of the usual notations.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some(_) | None => (10, &digits[..]),
    };
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    Some(if negative { -value } else { value })
}
