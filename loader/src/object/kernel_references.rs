//! What a program's instructions want of the kernel: its functions, variables and configuration.

use xdplb_linker::insn::{self, Insn, InsnIndex};

use super::core::POISON;
use super::externs::{Expected, KCONFIG};
use super::kernel_names::Found;
use super::layout::Layout;
use super::{Patch, PatchTarget};

impl Layout<'_> {
    /// A call of a function of the kernel.
    pub(super) fn call_kernel(&mut self, symbol: &str, at: InsnIndex) -> Result<(), String> {
        let Some((index, one)) = self.spec.externs.find(symbol) else {
            return Err(self.undefined("calls", symbol));
        };
        let Expected::Function(_) = one.what else {
            return Err(format!("calls `{symbol}`, which is no function"));
        };
        let found = self.answers.externs.get(index).cloned();
        let (src, imm, off) = match found.unwrap_or(Ok(Found::Absent)) {
            Ok(Found::Id(id)) => {
                let off = match id.module {
                    0 => 0,
                    module => self.module(module) as i16 + 1,
                };
                (insn::BPF_PSEUDO_KFUNC_CALL, id.id as i32, off)
            }
            // The verifier must find that it is never reached.
            Ok(Found::Absent | Found::Config(_) | Found::Address(_)) => {
                let why = format!("calls `{symbol}`, a function that this kernel does not have");
                self.poisoned.push((at, why.into()));
                (0, POISON, 0)
            }
            Err(why) => return Err(format!("calls `{symbol}`: {why}")),
        };
        let insn = &mut self.insns[at.0 as usize];
        (insn.src, insn.imm, insn.off) = (src, imm, off);
        Ok(())
    }

    /// A ld_imm64 of something of the kernel.
    pub(super) fn refer_to_kernel(
        &mut self,
        symbol: &str,
        load: Insn,
        at: InsnIndex,
    ) -> Result<(), String> {
        let Some((index, _)) = self.spec.externs.find(symbol) else {
            return Err(self.undefined("refers to", symbol));
        };
        let found = self.answers.externs.get(index).cloned();
        let found = found.unwrap_or(Ok(Found::Absent));
        let (src, value) = match found.map_err(|why| format!("refers to `{symbol}`: {why}"))? {
            Found::Config(offset) => {
                let map = self.spec.maps.iter().position(|map| map.name == KCONFIG);
                let Some(map) = map else {
                    return Err(format!("refers to `{symbol}`, which has no place"));
                };
                let offset = offset.wrapping_add(load.imm as u32);
                self.patches.push(Patch {
                    at,
                    target: PatchTarget::MapValue { map, offset },
                    symbol: symbol.to_string(),
                });
                (insn::BPF_PSEUDO_MAP_VALUE, u64::from(offset) << 32)
            }
            Found::Address(address) => (0, address.wrapping_add_signed(load.imm.into())),
            Found::Id(id) => {
                if id.module != 0 {
                    let module = self.module(id.module);
                    self.module_variables.push((at, module));
                }
                (insn::BPF_PSEUDO_BTF_ID, id.id.into())
            }
            Found::Absent => (0, 0),
        };
        let at = at.0 as usize;
        self.insns[at].src = src;
        self.insns[at].imm = value as i32;
        self.insns[at + 1].imm = (value >> 32) as i32;
        Ok(())
    }

    /// A symbol that is neither here nor expected of the kernel.
    fn undefined(&self, verb: &str, symbol: &str) -> String {
        let common = self.spec.commons.contains(symbol);
        let hint = match (&self.spec.btf, common) {
            (_, true) => {
                return format!(
                    "{verb} `{symbol}`, a variable that no section has room for\n  try:  clang -fno-common, or a value: `{symbol} = 0`"
                );
            }
            (None, false) => {
                "\n  try:  clang -g, if the kernel has it: .BTF says what is expected of the kernel"
            }
            (Some(_), false) => "",
        };
        format!("{verb} `{symbol}`, which the object does not define{hint}")
    }

    /// The place of a module's BTF object among those of the program.
    fn module(&mut self, id: u32) -> usize {
        let known = self.modules.iter().position(|&module| module == id);
        known.unwrap_or_else(|| {
            self.modules.push(id);
            self.modules.len() - 1
        })
    }
}
