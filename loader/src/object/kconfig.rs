//! Values of the kernel's configuration, as C variables: `extern int CONFIG_HZ __kconfig` gets what `/proc/config.gz` says.
//!
//! The types and their conversions are libbpf's (`find_kcfg_type`, `set_kcfg_value_tri`, `_str`, `_num`).

use xdplb_linker::btf::{Btf, Kind, TypeId};

use super::target::Target;

/// `BTF_INT_SIGNED`, `BTF_INT_CHAR`, `BTF_INT_BOOL`.
const SIGNED: u8 = 1;
const CHAR: u8 = 2;
const BOOL: u8 = 4;
/// Linux 5.15: the first with `bpf_get_attach_cookie`.
const COOKIE_SINCE: u32 = 5 << 16 | 15 << 8;

/// The functions that a kernel has whose system calls go through wrappers, by architecture.
pub(super) const WRAPPERS: [&str; 4] = [
    "__x64_sys_bpf",
    "__arm64_sys_bpf",
    "__riscv_sys_bpf",
    "__s390x_sys_bpf",
];

/// The type of a variable that holds such a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigType {
    /// One character: `y`, `m`, `n`, or a small number.
    Char,
    /// `y` or `n`.
    Bool,
    /// A number.
    Int { signed: bool },
    /// `enum libbpf_tristate`: 0 no, 1 yes, 2 module.
    Tristate,
    /// The text of a string option.
    Text,
}

impl ConfigType {
    pub(super) fn of(btf: &Btf, id: TypeId) -> Result<Self, String> {
        let (id, ty) = btf.resolve(id).ok_or("its type is void")?;
        let size = btf.size_of(id);
        match &ty.kind {
            Kind::Int(int) if int.encoding & BOOL != 0 && int.size == 1 => Ok(Self::Bool),
            Kind::Int(int) if int.size == 1 => Ok(Self::Char),
            Kind::Int(int) if int.size.is_power_of_two() && int.size <= 8 => Ok(Self::Int {
                signed: int.encoding & SIGNED != 0,
            }),
            Kind::Enum(_) | Kind::Enum64(_)
                if size == Some(4) && btf.name(ty.name) == "libbpf_tristate" =>
            {
                Ok(Self::Tristate)
            }
            Kind::Array(array) if array.count > 0 => match btf.resolve(array.element) {
                Some((_, element)) if is_char(&element.kind) => Ok(Self::Text),
                _ => Err("an array of anything but characters holds no option".into()),
            },
            _ => Err(
                "an option is a bool, a char, an integer, an enum libbpf_tristate or an array of char"
                    .into(),
            ),
        }
    }

    pub(super) fn align(self, size: u32) -> u32 {
        match self {
            Self::Char | Self::Bool | Self::Text => 1,
            Self::Int { .. } | Self::Tristate => size.max(1),
        }
    }

    /// The bytes of a value as the configuration's text has it.
    fn bytes(self, text: &str, size: usize) -> Result<Vec<u8>, String> {
        if let Some(quoted) = text.strip_prefix('"') {
            let Self::Text = self else {
                return Err(format!(
                    "its value is the text {text}, which needs an array of char"
                ));
            };
            let text = quoted.strip_suffix('"').unwrap_or(quoted);
            let room = size.saturating_sub(1);
            let mut bytes = text.as_bytes()[..text.len().min(room)].to_vec();
            bytes.resize(size, 0);
            return Ok(bytes);
        }
        let letter = match text {
            "y" | "m" | "n" => Some(text.as_bytes()[0]),
            _ => None,
        };
        match (self, letter) {
            (Self::Bool, Some(b'm')) => {
                Err("its value is m (a module), which a bool cannot hold".into())
            }
            (Self::Bool, Some(letter)) => Ok(vec![u8::from(letter == b'y')]),
            (Self::Char, Some(letter)) => Ok(vec![letter]),
            (Self::Tristate, Some(letter)) => {
                let value: u32 = match letter {
                    b'y' => 1,
                    b'm' => 2,
                    _ => 0,
                };
                Ok(value.to_le_bytes().to_vec())
            }
            (Self::Int { .. } | Self::Text, Some(_)) => Err(format!(
                "its value is {text}, which needs a bool, a char or an enum libbpf_tristate"
            )),
            (Self::Tristate | Self::Text, None) => Err(format!("its value is the number {text}")),
            (Self::Int { signed }, None) => number(text, size, signed),
            (Self::Char | Self::Bool, None) => number(text, size, false),
        }
    }
}

fn is_char(kind: &Kind) -> bool {
    matches!(kind, Kind::Int(int) if int.size == 1 && int.encoding & BOOL == 0 && (int.encoding & CHAR != 0 || int.bits == 8))
}

/// A number of the configuration, as large as the variable.
fn number(text: &str, size: usize, signed: bool) -> Result<Vec<u8>, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| format!("its value `{text}` is no number"))?;
    let value = if negative {
        -i128::from(value)
    } else {
        i128::from(value)
    };
    let bits = 8 * size as u32;
    // Also what only fits as the other signedness, as long as no bit is lost (libbpf's `is_kcfg_value_in_range`).
    let (low, high) = if signed {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    if value < low || value > high {
        return Err(format!("its value {text} does not fit {size} bytes"));
    }
    Ok(value.to_le_bytes()[..size].to_vec())
}

/// The value of an option on a machine; `None` where there is none, which only a weak variable can do without.
pub(super) fn value(
    name: &str,
    ty: ConfigType,
    size: u32,
    target: &Target,
) -> Result<Option<Vec<u8>>, String> {
    let size = size as usize;
    let number = |value: u64| match ty {
        ConfigType::Int { .. } | ConfigType::Bool | ConfigType::Char => {
            let signed = false;
            number(&value.to_string(), size, signed).map(Some)
        }
        ConfigType::Tristate | ConfigType::Text => Err("its value is a number".to_string()),
    };
    match name {
        "LINUX_KERNEL_VERSION" if target.version == 0 => Ok(None),
        "LINUX_KERNEL_VERSION" => number(target.version.into()),
        "LINUX_HAS_BPF_COOKIE" => number(u64::from(target.version >= COOKIE_SINCE)),
        "LINUX_HAS_SYSCALL_WRAPPER" => number(u64::from(
            WRAPPERS
                .iter()
                .any(|name| target.symbols.contains_key(*name)),
        )),
        name => match target.config.get(name) {
            Some(text) => ty.bytes(text.trim(), size).map(Some),
            None => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn target() -> Target {
        let mut target = Target {
            version: 6 << 16 | 18 << 8 | 44,
            ..Target::default()
        };
        for (name, value) in [
            ("CONFIG_BPF", "y"),
            ("CONFIG_VETH", "m"),
            ("CONFIG_HZ", "1000"),
            ("CONFIG_BIG", "0xffffffff81000000"),
            ("CONFIG_LOW", "-5"),
            ("CONFIG_HOST", "\"debian\""),
        ] {
            target.config.insert(name.into(), value.into());
        }
        target
    }

    fn check(name: &str, ty: ConfigType, size: u32, expect: Result<Option<&[u8]>, &str>) {
        let value = value(name, ty, size, &target());
        assert_eq!(
            value,
            expect
                .map(|v| v.map(<[u8]>::to_vec))
                .map_err(str::to_string),
            "{name}"
        );
    }

    #[test]
    fn options_take_the_type_of_their_variable() {
        use ConfigType::{Bool, Char, Int, Text, Tristate};
        let int = Int { signed: true };
        check("CONFIG_BPF", Bool, 1, Ok(Some(&[1])));
        check("CONFIG_BPF", Char, 1, Ok(Some(b"y")));
        check("CONFIG_BPF", Tristate, 4, Ok(Some(&[1, 0, 0, 0])));
        check("CONFIG_VETH", Tristate, 4, Ok(Some(&[2, 0, 0, 0])));
        check("CONFIG_HZ", int, 4, Ok(Some(&1000u32.to_le_bytes())));
        check("CONFIG_LOW", int, 2, Ok(Some(&[0xfb, 0xff])));
        check("CONFIG_HOST", Text, 4, Ok(Some(b"deb\0")));
        check("CONFIG_HOST", Text, 8, Ok(Some(b"debian\0\0")));
        check("CONFIG_NONE", Bool, 1, Ok(None));
        check(
            "LINUX_KERNEL_VERSION",
            int,
            4,
            Ok(Some(&(6u32 << 16 | 18 << 8 | 44).to_le_bytes())),
        );
        check("LINUX_HAS_BPF_COOKIE", Bool, 1, Ok(Some(&[1])));
        check("LINUX_HAS_SYSCALL_WRAPPER", Bool, 1, Ok(Some(&[0])));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        use ConfigType::{Bool, Int, Text, Tristate};
        let unsigned = Int { signed: false };
        check(
            "CONFIG_VETH",
            Bool,
            1,
            Err("its value is m (a module), which a bool cannot hold"),
        );
        check(
            "CONFIG_BPF",
            unsigned,
            4,
            Err("its value is y, which needs a bool, a char or an enum libbpf_tristate"),
        );
        check(
            "CONFIG_HZ",
            unsigned,
            1,
            Err("its value 1000 does not fit 1 bytes"),
        );
        check(
            "CONFIG_BIG",
            unsigned,
            4,
            Err("its value 0xffffffff81000000 does not fit 4 bytes"),
        );
        check(
            "CONFIG_LOW",
            unsigned,
            4,
            Err("its value -5 does not fit 4 bytes"),
        );
        check(
            "CONFIG_HZ",
            Tristate,
            4,
            Err("its value is the number 1000"),
        );
        check("CONFIG_HZ", Text, 4, Err("its value is the number 1000"));
        check(
            "CONFIG_HOST",
            unsigned,
            4,
            Err("its value is the text \"debian\", which needs an array of char"),
        );
    }
}
